"""The synthetic source: the same bytes always, and a truth that can be found again in the files."""

from __future__ import annotations

import re
import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score

from data_prep import synth
from data_prep.errors import DataError
from data_prep.shards import read_json, sha256_of
from data_prep.synth import SynthParameters, day_rows, finished_truth, synthesise
from data_prep.world import WORLD_VERSION, Effect, World, make_world

CELL = [r"[01]"] + [r"(-?\d+)?"] * 13 + [r"([0-9a-f]{8})?"] * 26
FEW = SynthParameters(seed=0, rows_per_day=300, days=2)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def read_day(path: Path, world: World) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Labels [R] and levels [columns, R], looked up again from what the file says."""
    cells = [line.split("\t") for line in path.read_text().splitlines()]
    level_of = [{text.decode(): level for level, text in reversed(list(enumerate(column.texts())))} for column in world.columns]
    levels = [[known[cell] for cell in column] for known, column in zip(level_of, list(zip(*cells, strict=True))[1:], strict=True)]
    return np.array([row[0] == "1" for row in cells]), np.array(levels, np.int32)


def test_files_are_criteos_format(raw: Path, parameters: SynthParameters) -> None:
    lines = (raw / "day_1").read_text().split("\n")
    assert len(lines) == parameters.rows_per_day + 1
    assert lines[-1] == ""
    form = re.compile("\t".join(CELL))
    assert all(form.fullmatch(line) for line in lines[:-1])
    assert any("\t\t" in line for line in lines)
    assert any("\t-1\t" in line for line in lines)


def test_same_seed_same_bytes_for_any_number_of_workers(tmp_path: Path) -> None:
    synthesise(tmp_path / "one", FEW, workers=1)
    synthesise(tmp_path / "two", FEW, workers=2)
    synthesise(tmp_path / "other", SynthParameters(seed=1, rows_per_day=300, days=2), workers=1)
    one, two, other = (files(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert set(one) == {".lock", "synth.json", "truth.json", "day_0", "day_1"}
    assert one["day_0"] != other["day_0"]
    assert one["day_0"] != one["day_1"]


def test_the_world_of_a_version_stays_as_it_is(tmp_path: Path) -> None:
    """When this fails on purpose, raise WORLD_VERSION, so that old files are not taken for new ones."""
    synthesise(tmp_path, FEW, workers=1)
    digests = [sha256_of(tmp_path / name)[:16] for name in ("day_0", "day_1")]
    assert (WORLD_VERSION, *digests) == (1, "2820dbde835735f9", "a7491dd8f9af8912")


def test_a_longer_series_starts_with_the_same_days(raw: Path, parameters: SynthParameters, tmp_path: Path) -> None:
    synthesise(tmp_path, SynthParameters(parameters.seed, parameters.rows_per_day, days=1), workers=1)
    assert (tmp_path / "day_0").read_bytes() == (raw / "day_0").read_bytes()


def test_bayes_figures_follow_from_the_cells_of_the_last_day(raw: Path, parameters: SynthParameters) -> None:
    """The chance of a click computed again from the text of the file, scored by scikit-learn."""
    world, truth = make_world(parameters.seed), read_json(raw / "truth.json")
    day = parameters.days - 1
    label, levels = read_day(raw / f"day_{day}", world)
    base = world.logits_by_order(np.array([[len(column.values)] for column in world.columns], np.int32), day)[0, 0]
    logit = np.full(len(label), base)
    for effect in world.effects:
        latents = [latent[levels[at]] for at, latent in zip(effect.positions, effect.latents, strict=True)]
        logit += effect.planted.strength * np.prod(latents, axis=0)
    chance = 1 / (1 + np.exp(-logit))
    expected = {"auc": pytest.approx(roc_auc_score(label, chance), abs=1e-6), "logloss": pytest.approx(log_loss(label, chance), abs=1e-6)}
    assert truth["bayes"] == {"day": day, **expected}
    assert truth["bayes_by_order"]["3"] == expected
    assert abs(label.mean() - chance.mean()) < 0.03


def product(effect: Effect, levels: NDArray[np.int32], rows: slice) -> Any:
    return np.prod([latent[levels[at, rows]] for at, latent in zip(effect.positions, effect.latents, strict=True)], axis=0)


def test_planted_effects_show_in_the_labels_and_nothing_else_does() -> None:
    """Correlation of the label with planted products, with products of columns that were not paired, and with halves of pairs."""
    world = make_world(0)
    rows = list(day_rows(world, SynthParameters(seed=0, rows_per_day=60_000, days=1), day=0))
    levels, label = np.concatenate([chunk.levels for chunk in rows], axis=1), np.concatenate([chunk.label for chunk in rows])
    everything = slice(None)
    for effect in world.effects:
        assert np.corrcoef(label, product(effect, levels, everything))[0, 1] > 0.06, effect.planted
    pairs = [effect for effect in world.effects if effect.order == 2]
    halves = [latent[levels[at]] for effect in pairs for at, latent in zip(effect.positions, effect.latents, strict=True)]
    assert max(abs(np.corrcoef(label, half)[0, 1]) for half in halves) < 0.03
    strangers = [a * b for i, j in combinations(range(len(halves)), 2) if i // 2 != j // 2 for a, b in [(halves[i], halves[j])]]
    assert max(abs(np.corrcoef(label, stranger)[0, 1]) for stranger in strangers) < 0.03


def test_the_best_possible_figures_rise_with_the_order() -> None:
    """The default world is worth searching: interactions carry about a third of what can be known."""
    world = make_world(0)
    rows = list(day_rows(world, SynthParameters(seed=0, rows_per_day=100_000, days=1), day=0))
    label, logits = np.concatenate([chunk.label for chunk in rows]), np.concatenate([chunk.logits for chunk in rows], axis=1)
    first, second, third = (roc_auc_score(label, logit) for logit in logits)
    assert 0.68 < first < 0.73
    assert 0.76 < second < 0.80
    assert second + 0.005 < third < 0.83
    assert 0.15 < label.mean() < 0.28


def test_latents_of_interactions_are_centred_and_a_gap_has_none() -> None:
    world = make_world(5)
    for effect in world.effects:
        for at, latent in zip(effect.positions, effect.latents, strict=True):
            popularity = world.columns[at].popularity
            assert latent[-1] == 0
            assert np.dot(popularity, latent[:-1] ** 2) - np.dot(popularity, latent[:-1]) ** 2 == pytest.approx(1)
            if effect.order > 1:
                assert np.dot(popularity, latent[:-1]) == pytest.approx(0, abs=1e-12)


def test_popularity_drifts_while_the_effects_stay() -> None:
    column = make_world(0).columns[13]
    first, later = np.diff(column.upper_ends(0), prepend=0), np.diff(column.upper_ends(4), prepend=0)
    assert first.sum() == pytest.approx(1)
    assert later.sum() == pytest.approx(1)
    assert 0.05 < np.abs(first - later).sum() < 1


def test_a_run_cut_off_is_continued_and_a_finished_one_left_alone(raw: Path, parameters: SynthParameters, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    shutil.copytree(raw, folder)
    (folder / "truth.json").unlink()
    (folder / "day_1").unlink()
    (folder / ".day_1.tmp").write_text("half a file")
    kept = (folder / "day_0").stat().st_mtime_ns
    assert finished_truth(folder, parameters) is None
    truth = synthesise(folder, parameters, workers=1)
    assert files(folder) == files(raw)
    assert (folder / "day_0").stat().st_mtime_ns == kept
    assert finished_truth(folder, parameters) == truth == read_json(raw / "truth.json")


def test_other_parameters_or_foreign_files_are_refused(raw: Path, parameters: SynthParameters, tmp_path: Path) -> None:
    other = SynthParameters(seed=4, rows_per_day=parameters.rows_per_day, days=parameters.days)
    with pytest.raises(DataError, match=r"seed 3 there, 4 asked.*another --out"):
        finished_truth(raw, other)
    (tmp_path / "day_0").write_text("a user's own log")
    with pytest.raises(DataError, match="not made by `data-prep synth`"):
        synthesise(tmp_path, parameters, workers=1)
    assert (tmp_path / "day_0").read_text() == "a user's own log"


@pytest.mark.parametrize(("seed", "rows", "days"), [(0, 1, 0), (0, 0, 1), (-1, 1, 1)])
def test_nonsense_parameters_are_refused(seed: int, rows: int, days: int) -> None:
    with pytest.raises(DataError, match="must be above 0"):
        SynthParameters(seed=seed, rows_per_day=rows, days=days)


def test_too_small_a_disk_is_told_before_the_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(synth, "BYTES_PER_ROW", 10**15)
    with pytest.raises(DataError, match="GB free"):
        synthesise(tmp_path, FEW, workers=1)
    assert not (tmp_path / "day_0").exists()
