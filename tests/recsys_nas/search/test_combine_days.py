"""From the trials of several days to one architecture: what ranks it, what each day enters, and what a damaged day is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recsys_nas.config import ConfigError
from recsys_nas.search.combine_days import DayTrials, _read_day, rank
from recsys_nas.space import Architecture, Gate, SearchSpace, SpaceRules

SPACE = SearchSpace(2, 3, 4, SpaceRules(1, (8,), (5,), ("linear", "fm", "cross"), ()))


def network(*names: str) -> Architecture:
    return SPACE.architecture(Gate(1, name) for name in names)


LINEAR, FM, CROSS, ALL = network("linear"), network("fm"), network("cross"), network("linear", "fm", "cross")


def values(linear: float, fm: float, cross: float) -> tuple[tuple[Architecture, float], ...]:
    """What networks are worth in a day where modules add up."""
    worth = {"linear": linear, "fm": fm, "cross": cross}
    pools = [("linear",), ("fm",), ("cross",), ("linear", "fm"), ("linear", "cross"), ("fm", "cross"), ("linear", "fm", "cross")]
    return tuple((network(*names), 1 - sum(worth[name] for name in names)) for names in pools)


def test_the_lowest_mean_over_days_wins_not_the_best_of_one_day() -> None:
    days = [DayTrials(0, FM, (FM, LINEAR), values(0.2, 0.3, 0.0)), DayTrials(1, CROSS, (CROSS, LINEAR), values(0.2, 0.0, 0.3))]
    ranked = rank(SPACE, days)
    assert ranked[0].architecture == LINEAR
    assert {r.architecture for r in ranked} == {LINEAR, FM, CROSS}
    assert [r.mean for r in ranked] == sorted(r.mean for r in ranked)


def test_where_finalists_were_trained_apart_a_day_enters_what_training_chose() -> None:
    """By the cheap values `linear` is the best of all; the trainings of either day said otherwise."""
    cheap = values(0.5, 0.1, 0.0)
    days = [DayTrials(day, choice, (LINEAR, choice), cheap, trained_apart=True) for day, choice in ((0, FM), (1, CROSS))]
    assert [r.architecture for r in rank(SPACE, days)] == [FM, CROSS]


def test_with_one_day_its_choice_stands() -> None:
    assert [r.architecture for r in rank(SPACE, [DayTrials(0, CROSS, (LINEAR, CROSS), values(0.5, 0.1, 0.0))])] == [CROSS, LINEAR]


def day_file(run: Path, trials: list[dict[str, Any]]) -> None:
    path = run / "days" / "day=00" / "search.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"architecture": FM.to_json(), "trials": trials}))


def trial(architecture: Architecture, value: float | None, compared: bool, finalist: bool) -> dict[str, Any]:
    return {"architecture": architecture.to_json(), "value": value, "compared": compared, "finalist": finalist}


def test_a_day_says_whether_its_finalists_were_trained_apart(tmp_path: Path) -> None:
    day_file(tmp_path, [trial(FM, 0.6, True, False), trial(LINEAR, 0.5, True, False), trial(FM, 0.4, False, True)])
    assert _read_day(tmp_path, 0, SPACE, "search.json").trained_apart
    day_file(tmp_path, [trial(FM, 0.6, True, True), trial(ALL, None, False, False)])
    assert not _read_day(tmp_path, 0, SPACE, "search.json").trained_apart


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [trial(FM, 0.6, True, False)],
        [trial(FM, 0.6, False, True)],
        [trial(FM, float("inf"), True, True)],
        [trial(FM, None, True, True)],
        [{}],
    ],
)
def test_a_day_of_which_nothing_can_be_made_is_damaged(tmp_path: Path, trials: list[dict[str, Any]]) -> None:
    day_file(tmp_path, trials)
    with pytest.raises(ConfigError, match=r"search\.json is damaged .*; remove .*day=00 and run the search again"):
        _read_day(tmp_path, 0, SPACE, "search.json")
