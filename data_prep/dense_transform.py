"""The transforms a dense column may go through, by name: one global rule, never one fitted to a file, so that days agree.

TorchRec's own converter shifts each file by that file's minimum (`torchrec/datasets/criteo.py`, `tsv_to_npys`), which puts
days on different scales. Here a transform is the same function of x wherever the row comes from, and a missing cell is x = 0.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import DataError


@dataclass(frozen=True)
class DenseTransform:
    """`log(offset + max(x, lowest))`, or x itself where `offset` is None. `formula` is what the manifest records."""

    name: str
    formula: str
    lowest: float = 0.0
    offset: float | None = None

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """The transform of numbers of any shape and numeric type, worked out in float64 and rounded to float32.

        Numbers beyond float32 become infinite; the caller tells them by that.
        """
        with np.errstate(over="ignore"):
            if self.offset is None:
                return np.asarray(values).astype(np.float32)
            wide = np.maximum(values, self.lowest, dtype=np.float64)
            return np.log1p(wide + (self.offset - 1)).astype(np.float32)


DENSE_TRANSFORMS: Mapping[str, DenseTransform] = {
    transform.name: transform
    for transform in (
        DenseTransform("log1p", "log(1 + max(x, 0))", lowest=0, offset=1),
        # MLPerf's DLRM-DCNv2: missing filled with 0, then log(1 + (x + 2)), in pytorch/torchrec at 28ce94a,
        # torchrec/datasets/scripts/nvt/process_criteo_parquet.py (`cont_features`). Its integers start at -1 or -2; lower ones
        # would give NaN there, here they are raised to -2, whose logarithm is 0.
        DenseTransform("mlperf", "log(3 + max(x, -2))", lowest=-2, offset=3),
        DenseTransform("none", "x"),
    )
}


def dense_transform(name: str) -> DenseTransform:
    """The transform called `name`; DataError naming the nearest when there is none."""
    if name in DENSE_TRANSFORMS:
        return DENSE_TRANSFORMS[name]
    near = difflib.get_close_matches(name, DENSE_TRANSFORMS, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise DataError(f"dense transform = {name!r}: {hint}there are {', '.join(DENSE_TRANSFORMS)}")
