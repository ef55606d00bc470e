"""The synthetic world: which columns a made-up log has, and what each cell does to the chance of a click.

The ground truth is additive on the logit scale: an effect of order k multiplies k latent numbers, one looked up in each
of its k columns; `data_prep.planted` has two other forms. A gap (an empty cell) has latent 0, so it only switches off the
effects it takes part in. Latents of pairs and triples have mean 0 and variance 1 under the popularity of their levels: a
pair leaves no first-order shadow, and the `strength` of an effect is the standard deviation of what it adds to the logit.

Cells are drawn with sums, quotients and square roots alone, which IEEE 754 rounds alike on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.planted import FORMS, Plan, Planted, opening
from data_prep.schema import NUM_CRITEO_DENSE, NUM_CRITEO_SPARSE

WORLD_VERSION = 1
NUM_ORDERS = 3
DRIFT_DAYS = 8
POPULARITY_DRIFT = 0.3
LOGIT_DRIFT = 0.05
INTEGER_LEVELS = 1 << 14
NOISE_CARDINALITIES = (20_000, 300, 50_000, 1_000, 10_000, 2_000, 30_000, 500, 5_000, 3, 15_000, 100, 700)


@dataclass(frozen=True)
class Column:
    """A column whose cells take levels 0..n-1; level n is a gap.

    values [n] are what the levels stand for, as numbers; popularity [n] sums to 1; phase [n] places each level in the
    drift of popularity from day to day; gap is the share of empty cells.
    """

    name: str
    is_integer: bool
    values: NDArray[np.int64]
    popularity: NDArray[np.float64]
    phase: NDArray[np.float64]
    gap: float

    def upper_ends(self, day: int) -> NDArray[np.float64]:
        """Upper end of each level's share of [0, 1) on `day`, the gap's last: [n + 1]. A uniform draw falls on its level."""
        wave = np.abs(4 * ((self.phase + day / DRIFT_DAYS) % 1.0) - 2) - 1
        ends = np.cumsum(self.popularity * (1 + POPULARITY_DRIFT * wave))
        return np.append(ends / ends[-1] * (1 - self.gap), 1.0)

    def texts(self) -> list[bytes]:
        """What a cell of each level holds in the file: [n + 1], the last one empty."""
        form = b"%d" if self.is_integer else b"%08x"
        return [form % value for value in self.values.tolist()] + [b""]


@dataclass(frozen=True)
class Effect:
    """A planted effect, ready to compute: positions of its columns, and for each its latents [n + 1].

    `keys` [n + 1] of each column where columns compete for attention, else empty.
    """

    planted: Planted
    positions: tuple[int, ...]
    latents: tuple[NDArray[np.float64], ...]
    keys: tuple[NDArray[np.float64], ...] = ()

    @property
    def order(self) -> int:
        return self.planted.order

    def logit(self, levels: NDArray[np.int32]) -> NDArray[np.float64]:
        """What the effect adds to the logit of each row: [R], from levels [columns, R]."""
        values = [latent[levels[position]] for position, latent in zip(self.positions, self.latents, strict=True)]
        keys = [key[levels[position]] for position, key in zip(self.positions, self.keys, strict=False)]
        return FORMS[self.planted.form](self.planted.strength, values, keys)


@dataclass(frozen=True)
class World:
    """Columns in the order of the file, integers first, and the effects among them."""

    columns: tuple[Column, ...]
    effects: tuple[Effect, ...]
    intercept: float

    def logits_by_order(self, levels: NDArray[np.int32], day: int) -> NDArray[np.float64]:
        """The true logit of each row with the effects of order 1 alone, up to 2, and up to 3: [3, R], from levels [columns, R]."""
        by_order = np.zeros((NUM_ORDERS, levels.shape[1]))
        by_order[0] = self.intercept + LOGIT_DRIFT * (abs(4 * ((day / DRIFT_DAYS + 0.3) % 1.0) - 2) - 1)
        for effect in self.effects:
            by_order[effect.order - 1] += effect.logit(levels)
        return np.cumsum(by_order, axis=0)


def make_world(seed: int, plan: Plan | None = None) -> World:
    """The world of a seed: the same for all days and any number of rows."""
    plan = plan or Plan()
    integers = [_integer_column(i, seed, plan) for i in range(1, NUM_CRITEO_DENSE + 1)]
    columns = (*integers, *(_categorical_column(i, seed, plan) for i in range(1, NUM_CRITEO_SPARSE + 1)))
    position = {column.name: index for index, column in enumerate(columns)}
    effects = []
    for number, planted in enumerate(plan.planted):
        rng = generator(seed, "effect", number)
        where = tuple(position[name] for name in planted.columns)
        latents = [_latent(columns[index], len(where), rng) for index in where]
        if planted.form == "gate":
            latents[0] = opening(latents[0], columns[where[0]].popularity)
        keys = tuple(_latent(columns[index], len(where), rng) for index in where) if planted.form == "attention" else ()
        effects.append(Effect(planted, where, tuple(latents), keys))
    return World(columns, tuple(effects), plan.intercept)


def generator(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """A stream of its own for each purpose and numbers, so that nothing depends on what was drawn before."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, int.from_bytes(purpose.encode()), *numbers])))


def _categorical_column(number: int, seed: int, plan: Plan) -> Column:
    """Zipf popularity: exponent 5/4, or 1/2 for the few levels of a column made for triples. Values are distinct 32-bit ids."""
    name = f"C{number}"
    rng = generator(seed, "categorical", number)
    size = plan.cardinalities.get(name, NOISE_CARDINALITIES[number % len(NOISE_CARDINALITIES)])
    rank = np.arange(1, size + 1, dtype=np.float64)
    weight = 1 / np.sqrt(rank) if size <= 8 else 1 / (rank * np.sqrt(np.sqrt(rank)))
    values = rng.choice(1 << 32, size, replace=False)
    return Column(name, False, values, weight / np.cumsum(weight)[-1], rng.random(size), plan.gaps.get(name, 0.0))


def _integer_column(number: int, seed: int, plan: Plan) -> Column:
    """Heavy-tailed like Criteo's integers: log-logistic, on a grid of equally likely levels; I2 reaches down to -2."""
    name = f"I{number}"
    middle = (np.arange(INTEGER_LEVELS) + 0.5) / INTEGER_LEVELS
    scale = generator(seed, "integer", number).integers(2, 60)
    values = np.floor(scale * (middle / (1 - middle))).astype(np.int64) - (2 if name == "I2" else 0)
    popularity = np.full(INTEGER_LEVELS, 1 / INTEGER_LEVELS)
    return Column(name, True, values, popularity, np.zeros(INTEGER_LEVELS), plan.gaps.get(name, 0.0))


def _latent(column: Column, order: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """One latent number a level and 0 for the gap, variance 1: [n + 1].

    An integer acts through log(1 + max(x, 0)). At order 1 that is not centred, because preprocessing maps a gap and a zero alike to 0.
    """
    raw = np.log1p(np.maximum(column.values, 0)) if column.is_integer else rng.random(len(column.values)) - 0.5
    mean = np.dot(column.popularity, raw)
    deviation = np.sqrt(np.dot(column.popularity, (raw - mean) ** 2))
    centred = raw if column.is_integer and order == 1 else raw - mean
    return np.append(centred / deviation, 0.0)
