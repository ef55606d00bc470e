"""The ROC curve as counts: equal to scikit-learn on any ties and any split over ranks; DeLong's interval equal to its definition."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from recsys_nas.training.metrics import PairedDifference, calibration_bins, judge, paired_difference
from recsys_nas.training.roc import Gather, Roc, auc, auc_standard_error
from tests.recsys_nas.training import metrics_of_a_rank
from tests.recsys_nas.training.metrics_of_a_rank import rows_of

Rows = list[tuple[int, int, bool]]
# Few distinct predictions, so nearly every row ties with another; 0 and 1 among them.
tied_rows = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.booleans()), min_size=1, max_size=50)


def tensors(rows: Rows) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    first, second = (torch.tensor([row[k] / 6 for row in rows], dtype=torch.float64) for k in (0, 1))
    return first, second, torch.tensor([float(row[2]) for row in rows])


def same_counts(one: Roc, other: Roc) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("scores", "positives", "negatives"))


@given(tied_rows)
def test_auc_equals_sklearn_with_many_ties(rows: Rows) -> None:
    scores, _, labels = tensors(rows)
    if len(labels.unique()) == 1:
        assert math.isnan(auc(Roc.of(scores, labels)))
    else:
        assert auc(Roc.of(scores, labels)) == pytest.approx(roc_auc_score(labels.numpy(), scores.numpy()), abs=1e-15)


def test_auc_of_a_million_rows_equals_sklearn() -> None:
    generator = np.random.default_rng(0)
    scores = generator.random(1_000_000).round(4).astype(np.float32)
    labels = (generator.random(1_000_000) < scores).astype(np.float64)
    assert auc(Roc.of(torch.from_numpy(scores), torch.from_numpy(labels))) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_constant_predictions_have_an_auc_of_one_half_without_spread() -> None:
    roc = Roc.of(torch.full((10,), 0.3), torch.tensor([0.0, 1.0] * 5))
    assert (auc(roc), auc_standard_error(roc), len(roc.scores)) == (0.5, 0.0, 1)


def test_single_and_double_precision_agree_and_a_negative_zero_is_zero() -> None:
    scores, labels = torch.tensor([0.0, -0.0, 0.25, 1.0]), torch.tensor([0, 1, 0, 1])
    single = Roc.of(scores, labels)
    assert same_counts(single, Roc.of(scores.double(), labels))
    assert (single.scores.tolist(), single.positives.tolist(), single.negatives.tolist()) == ([0.0, 0.25, 1.0], [1, 0, 1], [1, 1, 0])


@pytest.mark.parametrize("value", [float("nan"), -1e-6, 1.000001, float("inf")])
def test_what_is_no_probability_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="1 of 3 predictions are no probabilities"):
        Roc.of(torch.tensor([0.5, value, 0.1]), torch.tensor([1, 0, 0]))


def components(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """V10 and V01 by their definition: the mean over all pairs of 1, 1/2 or 0 (DeLong et al., 1988)."""
    kernel = np.heaviside(scores[labels][:, None] - scores[~labels][None, :], 0.5)
    return kernel.mean(axis=1), kernel.mean(axis=0)


@given(tied_rows)
def test_intervals_equal_delong_by_definition(rows: Rows) -> None:
    first, second, labels = tensors(rows)
    clicked = labels.bool().numpy()
    compared = paired_difference(first, second, labels)
    if min(clicked.sum(), (~clicked).sum()) < 2:
        assert math.isnan(auc_standard_error(Roc.of(first, labels)))
        assert compared.auc_row_ci95 is None
        return
    ours = auc_standard_error(Roc.of(first, labels))
    by_model = [components(scores.numpy(), clicked) for scores in (first, second)]
    variances = [np.cov(np.stack([model[side] for model in by_model])) / len(by_model[0][side]) for side in (0, 1)]
    covariance = variances[0] + variances[1]
    assert ours == pytest.approx(math.sqrt(covariance[0, 0]), abs=1e-9)
    # The variance of a difference, from DeLong's covariance matrix.
    of_difference = max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 0)
    assert compared.auc_row_ci95 == pytest.approx(1.959963985 * math.sqrt(of_difference), abs=1e-7)
    assert compared.auc == pytest.approx(auc(Roc.of(first, labels)) - auc(Roc.of(second, labels)), abs=1e-15)


class FakeRanks:
    """Ranks as threads that meet at a barrier, so that any split can be tried in one process."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._barrier = threading.Barrier(size)
        self._slots: list[Any] = [None] * size

    def gather(self, rank: int) -> Gather:
        def gather(values: NDArray[Any]) -> list[NDArray[Any]]:
            self._slots[rank] = values
            self._barrier.wait(timeout=20)
            every = list(self._slots)
            self._barrier.wait(timeout=20)
            return every

        return gather

    def run(self, task: Callable[[int, Gather], Any]) -> list[Any]:
        answers: list[Any] = [None] * self.size

        def one(rank: int) -> None:
            try:
                answers[rank] = task(rank, self.gather(rank))
            except BaseException:
                self._barrier.abort()  # or the others would wait
                raise

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers


@given(tied_rows, st.lists(st.integers(0, 50), max_size=3))
def test_every_split_over_ranks_gives_the_same_bits(rows: Rows, cuts: list[int]) -> None:
    first, second, labels = tensors(rows)
    edges = sorted(min(cut, len(rows)) for cut in cuts)  # equal neighbours make an empty rank
    parts = list(zip(*(tensor.tensor_split(edges) for tensor in (first, second, labels)), strict=True))
    whole = Roc.of(first, labels)

    def task(rank: int, gather: Gather) -> tuple[Roc, PairedDifference]:
        mine, other, clicks = parts[rank]
        return Roc.of(mine, clicks).over_ranks(gather), paired_difference(mine, other, clicks, gather)

    alone = paired_difference(first, second, labels)
    for roc, compared in FakeRanks(len(parts)).run(task):
        assert same_counts(roc, whole)
        assert repr(judge(roc)) == repr(judge(whole))  # repr: NaN is equal to itself in it
        for name, value in vars(alone).items():
            assert getattr(compared, name) == (value if value is None else pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True))


def test_all_rows_on_one_rank_and_none_on_the_others() -> None:
    scores, labels = torch.rand(100, generator=torch.Generator().manual_seed(0)), torch.arange(100) % 3 == 0
    empty = Roc.of(torch.empty(0), torch.empty(0))
    assert empty.rows == 0
    assert same_counts(Roc.merge([empty, Roc.of(scores, labels), empty]), Roc.of(scores, labels))
    assert Roc.merge([empty, empty]).rows == 0
    with pytest.raises(ValueError, match="no rows to judge"):
        judge(empty)


def test_three_processes_of_uneven_rows_agree_with_one(tmp_path: Path) -> None:
    script = Path(metrics_of_a_rank.__file__)
    started = [subprocess.Popen([sys.executable, script, str(rank), tmp_path], stdout=subprocess.PIPE, text=True) for rank in range(3)]
    seen = {process.communicate(timeout=60)[0] for process in started}
    scores, labels = (torch.cat(parts) for parts in zip(*(rows_of(rank) for rank in range(3)), strict=True))
    assert len(seen) == 1, "ranks disagree"
    (text,) = seen
    assert text.startswith(f"({judge(Roc.of(scores, labels))!r}, ")
    assert text.strip().endswith("[1000, 0, 17])")


def test_calibration_bins_group_neighbouring_predictions() -> None:
    roc = Roc.of(torch.tensor([0.9, 0.1, 0.2, 0.8]), torch.tensor([1.0, 0.0, 1.0, 1.0]))
    bins = calibration_bins(roc, bins=2)
    assert [(round(b.predicted, 6), b.observed, b.rows) for b in bins] == [(0.15, 0.5, 2), (0.85, 1.0, 2)]
    assert sum(b.rows for b in calibration_bins(roc)) == 4


def test_calibration_bins_share_out_ties() -> None:
    bins = calibration_bins(Roc.of(torch.full((8,), 0.5), torch.tensor([1.0, 1.0] + [0.0] * 6)), bins=2)
    assert [(b.predicted, b.observed, b.rows) for b in bins] == [(0.5, 0.25, 4), (0.5, 0.25, 4)]
