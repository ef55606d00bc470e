"""A predictor of how networks rank, learnt from networks that were measured: an ensemble of small perceptrons of two heads.

Source: AutoML for large capacity modelling of Meta's ranking systems (Yin et al., 2023): pairwise ranking with margin 0.001, 10
members, one head for NE and one for FLOPs. Ranking needs no common scale, so records of several days can be learnt from together.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys_nas.search.agreement import kendall_tau

MARGIN = 0.001
MEMBERS, HIDDEN = 10, 32
STEPS, RATE, WEIGHT_DECAY = 150, 1e-2, 1e-3
FOLDS = 5
Floats = NDArray[np.float64]


class RankPredictor:
    """Learns from encodings `[N, width]`, values `[N]` and FLOPs `[N]`; only records of one group `[N]` are compared with each other."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._weights: list[Tensor] = []
        self._centre, self._scale = torch.zeros(MEMBERS, 1), torch.ones(MEMBERS, 1)

    def fit(self, inputs: Floats, values: Floats, flops: Floats, groups: NDArray[np.int64]) -> None:
        """Learn anew. Every member starts from weights of its own, and counts each record as often as a bootstrap drew it."""
        draw = np.random.default_rng([self.seed, len(values)])
        x = torch.from_numpy(inputs).float()
        self._weights = _first_weights(x.shape[1], draw)
        counts = torch.from_numpy(draw.poisson(1.0, (MEMBERS, len(values)))).float()
        comparable = torch.from_numpy(groups[:, None] == groups[None, :])
        better = [torch.from_numpy(target[:, None] < target[None, :]) & comparable for target in (values, flops)]
        pairs = [mask.float() * counts.unsqueeze(2) * counts.unsqueeze(1) for mask in better]
        optimizer = torch.optim.Adam(self._weights, lr=RATE, weight_decay=WEIGHT_DECAY)
        for _ in range(STEPS):
            scores = self._scores(x)
            loss = torch.stack([_ranking_loss(scores[..., head], pairs[head]) for head in range(2)]).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            of_values = self._scores(x)[..., 0]
            self._centre, self._scale = of_values.mean(1, keepdim=True), of_values.std(1, keepdim=True) + 1e-12

    def predict(self, inputs: Floats) -> Floats:
        """Mean over members of the value, in standard deviations of the records learnt from; the lower the better. `[N]`."""
        with torch.no_grad():
            scores = self._scores(torch.from_numpy(inputs).float())[..., 0]
            mean: Floats = ((scores - self._centre) / self._scale).mean(0).double().numpy()
        return mean

    def _scores(self, x: Tensor) -> Tensor:
        """`[N, width]` -> `[members, N, heads]`."""
        first, shift, second = self._weights
        return torch.relu(x @ first + shift) @ second


def held_out_tau(inputs: Floats, values: Floats, flops: Floats, seed: int) -> float:
    """Kendall's tau between measured values and those predicted from the other four fifths of the records; NaN for too few.

    Mean over folds, since each fold has a predictor of its own, and ranks of two predictors cannot be compared.
    """
    folds = np.random.default_rng([seed, 5]).permutation(len(values)) % FOLDS
    taus = []
    for fold in range(FOLDS):
        kept, out = folds != fold, folds == fold
        if kept.sum() < 2 or out.sum() < 2:
            return math.nan
        predictor = RankPredictor(seed)
        predictor.fit(inputs[kept], values[kept], flops[kept], np.zeros(int(kept.sum()), np.int64))
        taus.append(kendall_tau(predictor.predict(inputs[out]), values[out]))
    known = [tau for tau in taus if not math.isnan(tau)]
    return float(np.mean(known)) if known else math.nan


def _first_weights(width: int, draw: np.random.Generator) -> list[Tensor]:
    made = (
        draw.normal(size=(MEMBERS, width, HIDDEN)) / math.sqrt(width),
        np.zeros((MEMBERS, 1, HIDDEN)),
        draw.normal(size=(MEMBERS, HIDDEN, 2)) / math.sqrt(HIDDEN),
    )
    return [torch.from_numpy(values).float().requires_grad_() for values in made]


def _ranking_loss(scores: Tensor, pairs: Tensor) -> Tensor:
    """Hinge over pairs whose first is lower: `[members, N]` and weights `[members, N, N]`."""
    gaps = MARGIN + scores.unsqueeze(2) - scores.unsqueeze(1)
    return (torch.relu(gaps) * pairs).sum() / pairs.sum().clamp(min=1.0)
