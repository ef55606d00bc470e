# The image for jobs on Kubernetes and Docker: the same lock files and the same set-up as on a machine.
#
#     docker build --tag recsys-nas .                          # CPU
#     docker build --tag recsys-nas --build-arg DEVICE=cuda .  # GPU; the NVIDIA driver is the host's
FROM python:3.12-slim-bookworm

ARG DEVICE=cpu
# fbgemm and torch link against OpenMP's runtime; git is what run.json names the commit with.
RUN apt-get update && apt-get install --yes --no-install-recommends git libgomp1 make && rm -rf /var/lib/apt/lists/*

WORKDIR /recsys-nas
# What set-up reads, in a layer of its own: the packages are installed again only when one of these changes.
COPY Makefile setup.py pyproject.toml README.md ./
COPY requirements requirements
RUN mkdir data_prep embeddings recsys_nas launch && make setup DEVICE=$DEVICE

COPY . .
RUN .venv/bin/python -m pip install --no-deps --no-build-isolation --editable .
# TorchX and the jobs look for `python` and `torchrun` on the PATH.
ENV PATH=/recsys-nas/.venv/bin:$PATH
CMD ["recsys-nas", "--help"]
