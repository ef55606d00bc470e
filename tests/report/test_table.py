"""The table in the terminal: plain when piped, at most 100 columns, the verdict below."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from recsys_nas.report.results import write_results
from recsys_nas.report.table import print_results
from tests.report.conftest import MakeRun
from tests.report.fabricated_run import MODELS, train_controls


def test_piped_output_is_plain_and_fits(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    models = MODELS | {"autoint_plus_large": (0.7690, 0.4812, 4_250_000, 1_200_000)}
    print_results(write_results(make_run(models=models)))
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert max(len(line) for line in printed.splitlines()) <= 100
    assert "…" not in printed


def test_each_model_has_one_row_with_its_figures(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    results = write_results(make_run())
    print_results(results)
    lines = capsys.readouterr().out.splitlines()
    for model in results["models"]:
        row = next(line for line in lines if line.split()[:1] == [model["name"]] and "±" in line)
        assert f"{model['auc']:.4f} ± {model['auc_ci95']:.4f}" in row
        assert f"{model['logloss']:.4f}" in row
    names = [line.split()[0] for line in lines if line.strip()]
    assert names.index("Bayes-optimal") > names.index("mlp")


@pytest.mark.parametrize(
    ("progressive", "title"),
    [
        ("", "Test day 5, "),
        ("3-5", "Days 3 to 5, each by models of the days before, "),
        ("3,5", "Days 3, 5, each by models of the days before, "),
    ],
)
def test_the_title_tells_the_judged_days(make_run: MakeRun, capsys: pytest.CaptureFixture[str], progressive: str, title: str) -> None:
    run = make_run()
    config = run / "config.toml"
    config.write_text(config.read_text().replace('progressive = ""', f'progressive = "{progressive}"'))
    print_results(write_results(run))
    assert capsys.readouterr().out.lstrip().startswith(title)


def test_the_verdict_stands_below(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    print_results(write_results(make_run()))
    printed = capsys.readouterr().out
    assert "full_supernet, the best of the other models" in printed.split("Bayes-optimal")[1]


def test_no_bayes_row_without_a_truth(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    print_results(write_results(make_run(truth=False)))
    assert "Bayes" not in capsys.readouterr().out


def test_a_terminal_without_unicode_gets_ascii(make_run: MakeRun) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_results(write_results(make_run()), Console(file=file, width=100))
    file.flush()
    assert "+- " in file.buffer.getvalue().decode("ascii")


def test_chance_has_a_line_where_random_networks_were_trained(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run()
    train_controls(run, (0.70, 0.75, 0.72, 0.80))
    print_results(write_results(run))
    printed = " ".join(capsys.readouterr().out.split())
    assert "Of 4 random networks at its FLOPs, trained alike (seed 0), found is ahead of 75 %" in printed
    assert "0.7350 in the median and 0.8000 at best" in printed
