# The commands of a working day; CI calls the same ones. `make demo` and `make test` set up .venv first.
PYTHON ?= python3
DEVICE ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test docs lint format lock clean

help:    ## show this list
	@sed -nE 's/^([a-z-]+): .*## /  make \1\t/p' Makefile

setup:   ## make or update .venv (DEVICE=cpu or DEVICE=cuda to force one, PYTHON=... to choose a Python)
	@command -v $(PYTHON) >/dev/null || { echo "error: no $(PYTHON) here; install Python 3.11 or newer, or name it: make setup PYTHON=..." >&2; exit 2; }
	@$(PYTHON) requirements/install.py $(if $(DEVICE),--device $(DEVICE))

demo: setup    ## search on six days of made-up logs: data, preprocessing, search, comparison, report
	$(BIN)/data-prep synth --out data/demo/raw --days 6 --rows-per-day 200000 --seed 0
	$(BIN)/data-prep run --input 'data/demo/raw/day_*' --schema criteo --out data/demo/shards
	$(BIN)/torchx run launch/search.py --config configs/demo.toml

test: setup    ## run the tests
	@$(BIN)/python -m pytest --quiet --durations=5 --numprocesses auto --maxprocesses 8 --dist loadfile

test-slurm: setup    ## run searches on a Slurm of one node, started for it, 10 minutes; needs root, slurm-wlm, slurmdbd, munge, mariadb-server
	@$(BIN)/python -m pytest --quiet -rs -m slurm tests/slurm

docs: setup    ## pages of docs/ in docs/_build, without network
	@$(BIN)/python docs/make_config.py && $(BIN)/python docs/make_spaces.py && $(BIN)/python -m sphinx -q -W -b html docs docs/_build && echo docs/_build/index.html

lint: setup    ## check style and types
	@$(BIN)/ruff check --quiet && $(BIN)/ruff format --check --quiet && $(BIN)/mypy

format: setup    ## put code into shape
	@$(BIN)/ruff check --quiet --fix; $(BIN)/ruff format --quiet

lock: setup    ## derive requirements/*.lock from setup.py again
	@$(BIN)/python requirements/lock.py

clean:   ## remove caches and what the demo made; .venv stays
	@rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis data/demo runs/demo
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
