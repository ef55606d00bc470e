"""The model of a search on many workers: exact where nothing is left to chance, and its chances against closed forms."""

from __future__ import annotations

import json
import random
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_nas.campaign import HOUR, Campaign, Outcome, simulate
from recsys_nas.cli import main

CERTAIN = Campaign(
    days=24,
    workers=5,
    rows_per_day=1000,
    rows_per_second=10,
    gpus=8,
    startup_seconds=20,
    spread=0,
    failure_rate=0,
    aggregation_seconds=3,
)


@given(days=st.integers(1, 50), workers=st.integers(1, 30))
def test_without_chance_it_is_rounds_of_equal_days(days: int, workers: int) -> None:
    outcome = simulate(replace(CERTAIN, days=days, workers=workers), random.Random(0))
    rounds = -(-days // workers)
    assert outcome == Outcome(pytest.approx(rounds * 120 + 3), pytest.approx(days * 120 * 8 / HOUR), 0)  # type: ignore[arg-type]


def test_failures_cost_what_the_formula_says() -> None:
    """An attempt that fails has worked half of the day on average, and everything it did is lost without checkpoints."""
    failing = replace(
        CERTAIN, days=1, workers=1, failure_rate=0.5, retries=1, checkpoint_seconds=1e9, backoff_seconds=4, aggregation_seconds=0
    )
    draw = random.Random(1)
    outcomes = [simulate(failing, draw) for _ in range(20_000)]
    lost = statistics.fmean(outcome.days_lost for outcome in outcomes)
    assert lost == pytest.approx(0.25, abs=0.02)
    # success at once; fail then success; fail twice: 120, (20 + 50) + 4 + 120, 2 (20 + 50) + 4
    expected = 0.5 * 120 + 0.25 * 194 + 0.25 * 144
    assert statistics.fmean(outcome.wall_seconds for outcome in outcomes) == pytest.approx(expected, rel=0.02)
    held = statistics.fmean(outcome.device_hours for outcome in outcomes) * HOUR / 8
    assert held == pytest.approx(expected - 0.5 * 4, rel=0.02), "nothing is held while an attempt waits for its turn"


def test_checkpoints_save_work() -> None:
    failing = replace(CERTAIN, failure_rate=0.3, retries=5)
    means = []
    for seconds in (0.0, 50.0, 1e9):
        draw = random.Random(2)
        means.append(statistics.fmean(simulate(replace(failing, checkpoint_seconds=seconds), draw).device_hours for _ in range(300)))
    assert means == sorted(means)
    assert means[0] < means[2]


def test_stragglers_hold_up_the_last_round() -> None:
    draw = random.Random(3)
    walls = [simulate(replace(CERTAIN, days=24, workers=24, spread=0.3), draw).wall_seconds for _ in range(500)]
    # the largest of 24 log-normal times; E[max] of 24 standard normals is 1.948
    assert statistics.median(walls) == pytest.approx(20 + 100 * 2.718281828 ** (0.3 * 1.93) + 3, rel=0.05)


@pytest.mark.parametrize(
    ("name", "value"), [("days", 0), ("rows_per_second", 0.0), ("failure_rate", 1.0), ("spread", -1.0), ("price", float("nan"))]
)
def test_what_cannot_be(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} = "):
        replace(CERTAIN, **{name: value})  # type: ignore[arg-type]


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    words = "simulate --days 24 --workers 24 --rows-per-day 182e6 --rows-per-second 1e6 --gpus 8 --price 2 --times 3"
    words += " --spread 0 --failure-rate 0"
    assert main(words.split()) == 0
    out = capsys.readouterr().out
    assert "a day, undisturbed  0.07 h" in out
    assert "device-hours        12.9, workers busy 98 %" in out
    assert "cost                26 at 2 an hour and device" in out
    assert main([*words.split(), "--failure-rate", "2"]) == 2
    assert "failure_rate = 2.0: must lie in [0, 1)" in capsys.readouterr().err


def test_an_assumed_rate_is_told_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    words = "simulate --days 1 --workers 1 --rows-per-day 1671168 --gpus 8 --spread 0 --failure-rate 0 --startup-seconds 0 --times 1"
    assert main([*words.split(), "--device", "h200"]) == 0
    assert "rows/s of a job     1,671,168, ASSUMED: that of TorchRec's DLRM on A100 of 40 GB, github.com/" in capsys.readouterr().out
    assert main([*words.split(), "--device", "h200", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rows_per_second"], told["day_hours"]) == (1_671_168, 1 / HOUR)
    assert main([*words.split(), "--device", "abacus"]) == 2
    assert "--device abacus: no rate is assumed for it; known: a100, h100, h200" in capsys.readouterr().err
    assert main([*words.split(), "--device", "h200", "--gpus", "3"]) == 2
    assert "--gpus 3: rates are assumed for 1, 4, 8 of a h200 only" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(words.split())
    assert "one of the arguments --rows-per-second --device is required" in capsys.readouterr().err
