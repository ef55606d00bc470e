"""What a synthetic world holds: the effects planted among its columns, and the worlds that have a name.

An effect adds to the logit, by its form, from one latent number a level of each of its columns:

- `product` of order k: all k of them multiplied;
- `gate`: the first column opens (root of 2) or shuts (0) the sum of the others', as a context that decides whether they count;
- `attention`: columns compete; each has a key a level beside its value, and the values count by the softmax of the keys.

The small worlds are for searches that should find what was planted (docs/quality/search.md). Heavy tails of ids would hide most of it, so
their columns have few levels, one latent number each, and effects of order 1 on the same columns, without which products are learnt slowly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Form = Literal["product", "gate", "attention"]
DEMO = "demo"
SHARPNESS = 5.0
"""Of the softmax between columns that compete: on most rows one of them has most of the weight."""


@dataclass(frozen=True)
class Planted:
    """An effect to plant: its columns, and its standard deviation on the logit scale (for `attention` an upper bound of it)."""

    columns: tuple[str, ...]
    strength: float
    form: Form = "product"

    @property
    def order(self) -> int:
        """How many columns a product has; a gate meets each column alone; attention counts as the highest there is."""
        return {"product": len(self.columns), "gate": 2, "attention": 3}[self.form]


@dataclass(frozen=True)
class Plan:
    """What a world is made from; columns without a planted effect are noise.

    `cardinalities` of the categorical columns that matter, `gaps` (shares of empty cells) by column, `intercept` the
    logit of a row without effects, `columns` those that a model is to read (none named: all of Criteo's). The defaults are tuned
    so that one pass over a million rows can learn most of it:
    few levels a planted column, one latent number a level (heavy tails of ids would hide the signal), and pairs among
    categorical columns only (a plain MLP learns a pair with an integer as fast as a model made for interactions).
    """

    planted: tuple[Planted, ...] = (
        Planted(("I1",), 0.36),
        Planted(("I4",), 0.24),
        Planted(("I7",), 0.36),
        Planted(("C3",), 0.48),
        Planted(("C10",), 0.42),
        Planted(("C19",), 0.36),
        Planted(("C1", "C2"), 0.5),
        Planted(("C6", "C14"), 0.45),
        Planted(("C9", "C17"), 0.4),
        Planted(("C13", "C23"), 0.4),
        Planted(("C5", "C16", "C22"), 0.5),
    )
    cardinalities: Mapping[str, int] = field(default_factory=lambda: {
        "C1": 60, "C2": 40, "C3": 30, "C5": 6, "C6": 80, "C9": 50, "C10": 100, "C13": 60, "C14": 50, "C16": 5, "C17": 40,
        "C19": 20, "C22": 6, "C23": 40,
    })  # fmt: skip
    gaps: Mapping[str, float] = field(default_factory=lambda: {
        "I1": 0.05, "I2": 0.2, "I3": 0.2, "I5": 0.03, "I6": 0.2, "I10": 0.45, "I12": 0.75,
        "C3": 0.03, "C4": 0.03, "C6": 0.02, "C12": 0.03, "C17": 0.03, "C19": 0.1, "C24": 0.4, "C25": 0.4, "C26": 0.4,
    })  # fmt: skip
    intercept: float = -3.7
    columns: tuple[str, ...] = ()


FIELDS = tuple(f"C{i}" for i in range(1, 9))
"""The categorical columns of a small world; the last two are noise."""


def _small(*planted: Planted, cardinality: int = 30, first_order: float = 0.3) -> Plan:
    """Eight categorical columns and two integers, effects of order 1 on six of the former and one of the latter, and these ones."""
    alone = tuple(Planted((name,), first_order) for name in ("I1", *FIELDS[:6]))
    return Plan(alone + planted, dict.fromkeys(FIELDS, cardinality), {}, -1.0, ("I1", "I4", *FIELDS))


NAMED_WORLDS: Mapping[str, Plan] = {
    DEMO: Plan(),
    "first_order": _small(first_order=0.45),
    "second_order": _small(Planted(("C1", "C2"), 0.7), Planted(("C3", "C4"), 0.7), Planted(("C5", "C6"), 0.7)),
    "third_order": _small(Planted(("C1", "C2", "C3"), 1.5), cardinality=5),
    "gating": _small(Planted(("C1", "C2", "C3", "C4", "C5", "C6"), 1.2, "gate")),
    "attention": _small(Planted(("C1", "C2", "C3", "C4", "C5", "C6"), 2.5, "attention"), cardinality=5, first_order=0.15),
}
"""By the names that `data-prep synth --world` takes."""


def opening(latent: Floats, popularity: Floats) -> Floats:
    """A gate's latents from the column's: its upper half open, the mean square 1 under the popularity, a gap (the last) shut."""
    is_open = latent[:-1] > np.median(latent[:-1])
    return np.append(is_open / np.sqrt(popularity[is_open].sum()), 0.0)


def _product(strength: float, values: Sequence[Floats], keys: Sequence[Floats]) -> Floats:
    product = np.full(len(values[0]), strength)
    for value in values:
        product *= value
    return product


def _gate(strength: float, values: Sequence[Floats], keys: Sequence[Floats]) -> Floats:
    gate, *others = values
    return strength * gate * np.sum(others, axis=0) / np.sqrt(len(others))


def _attention(strength: float, values: Sequence[Floats], keys: Sequence[Floats]) -> Floats:
    weights = np.exp(SHARPNESS * np.stack(keys))
    mean: Floats = (weights * np.stack(values)).sum(axis=0) / weights.sum(axis=0)
    return strength * mean


FORMS: Mapping[Form, Callable[[float, Sequence[Floats], Sequence[Floats]], Floats]] = {
    "product": _product,
    "gate": _gate,
    "attention": _attention,
}
"""What each form adds to the logit of each row [R]: from its strength, the latents of its columns and their keys, each [R]."""


def schema_toml(plan: Plan) -> str:
    """A schema for `data-prep run` that reads the columns of a world that names some; empty for one that names none."""
    if not plan.columns:
        return ""
    names = ["label", *(f"I{i}" for i in range(1, 14)), *(f"C{i}" for i in range(1, 27))]
    dense = [name for name in plan.columns if name.startswith("I")]
    sparse = [name for name in plan.columns if name.startswith("C")]
    return (
        f'label = "label"\ndense = {_toml(dense)}\nsparse = {_toml(sparse)}\ntype = "hex"\n\n'
        f'[csv]\ndelimiter = "\\t"\ncolumns = {_toml(names)}\n'
    )


def _toml(names: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"
