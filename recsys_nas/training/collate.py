"""Rows of shards, mapped from disk, to the tensors of a batch: each number is copied once, into memory the batch owns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor
from torchrec import KeyedJaggedTensor

from data_prep.schema import Schema
from data_prep.shards import Part

Piece = tuple[Part, int, int]
"""Rows of one part: from the first number to before the second."""

TILE = 16
"""Numbers of 4 bytes in a cache line."""


class Collator:
    """Makes dense `[B, I]` float32, ids as a KJT and labels `[B]` float32 from pieces of parts.

    The KJT's keys are the sparse features, one id an example, then the jagged ones, a list an example, in the order of the
    schema. Ids wrap around `table_rows`, one number a key. With `pin_memory` the tensors lie in page-locked memory, from
    which a GPU copies while the program goes on.
    """

    def __init__(self, schema: Schema, table_rows: Sequence[int], pin_memory: bool) -> None:
        if len(table_rows) != len(schema.categorical):
            raise ValueError(f"{len(table_rows)} table sizes for {len(schema.categorical)} columns of ids: name one for each")
        self._schema = schema
        self._keys = [feature.name for feature in schema.categorical]
        self._index = {key: number for number, key in enumerate(self._keys)}
        self._wraps = [
            rows if feature.num_embeddings > rows else None for feature, rows in zip(schema.categorical, table_rows, strict=True)
        ]
        self._pin_memory = pin_memory
        self._single: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, pieces: Sequence[Piece], rows: int) -> tuple[Tensor, KeyedJaggedTensor, Tensor]:
        """The rows of `pieces`, one after the other, filled up to `rows` with zeros and empty lists."""
        dense = self._empty((rows, len(self._schema.dense)), torch.float32)
        labels = self._empty((rows,), torch.float32)
        end = _fill(dense.numpy(), [part.dense[first:end] for part, first, end in pieces])
        _fill(labels.numpy(), [part.label[first:end, 0] for part, first, end in pieces])
        assert end <= rows, "more rows than the batch has room for"
        return dense, self._keyed(pieces, rows), labels

    def _keyed(self, pieces: Sequence[Piece], rows: int) -> KeyedJaggedTensor:
        single = len(self._schema.sparse) * rows
        lists = [_lists(pieces, feature.name, rows) for feature in self._schema.jagged]
        sizes = [rows] * len(self._schema.sparse) + [sum(map(len, ids)) for ids, _ in lists]
        ends = [0, *accumulate(sizes)]
        values = self._empty((ends[-1],), torch.int32)
        by_column, at = values[:single].numpy().reshape(len(self._schema.sparse), rows), 0
        for part, first, end in pieces:
            _transpose(part.sparse[first:end], by_column[:, at : at + end - first])
            at += end - first
        by_column[:, at:] = 0
        for (ids, _), first, end in zip(lists, ends[len(self._schema.sparse) :], ends[len(self._schema.sparse) + 1 :], strict=False):
            _fill(values[first:end].numpy(), ids)
        self._wrap(values.numpy(), ends)
        lengths, offsets = self._lengths([lengths for _, lengths in lists], rows)
        return KeyedJaggedTensor(
            keys=self._keys,
            values=values,
            lengths=lengths,
            offsets=offsets,
            stride=rows,
            length_per_key=sizes,
            offset_per_key=ends,
            index_per_key=self._index,
        )

    def _wrap(self, values: NDArray[np.int32], ends: Sequence[int]) -> None:
        for wrap, first, end in zip(self._wraps, ends, ends[1:], strict=False):
            if wrap is not None:
                ids = values[first:end]
                # ids - ids // wrap * wrap: NumPy divides by a scalar with vector instructions, and takes remainders without.
                ids -= ids // np.int32(wrap) * np.int32(wrap)

    def _lengths(self, lists: Sequence[NDArray[np.int32]], rows: int) -> tuple[Tensor, Tensor]:
        """Lengths `[F * B]` and offsets `[F * B + 1]`. Without lists they are the same for every batch, and shared."""
        if rows not in self._single:
            count = len(self._schema.sparse) * rows
            ones, steps = self._empty((count,), torch.int32), self._empty((count + 1,), torch.int32)
            self._single[rows] = ones.fill_(1), torch.arange(count + 1, dtype=torch.int32, out=steps)
        ones, steps = self._single[rows]
        if not lists:
            return ones, steps
        lengths = self._empty((len(self._keys) * rows,), torch.int32)
        offsets = self._empty((len(lengths) + 1,), torch.int32)
        _fill(lengths.numpy(), [ones.numpy(), *lists])
        offsets[0] = 0
        np.cumsum(lengths.numpy(), out=offsets.numpy()[1:])
        return lengths, offsets

    def _empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, pin_memory=self._pin_memory)


@njit(cache=True, nogil=True)
def _transpose(rows, columns):  # type: ignore[no-untyped-def]
    """`columns` [F, N] from `rows` [N, F]. Filling whole cache lines, a tile at a time, is a third faster than NumPy's copy."""
    whole = rows.shape[0] // TILE * TILE
    for first in range(0, whole, TILE):
        for column in range(rows.shape[1]):
            for row in range(TILE):
                columns[column, first + row] = rows[first + row, column]
    for row in range(whole, rows.shape[0]):
        for column in range(rows.shape[1]):
            columns[column, row] = rows[row, column]


def _fill(target: NDArray[Any], sources: Sequence[NDArray[Any]]) -> int:
    """Put `sources` one after the other into `target` along its first dimension, zeros behind; returns where the sources end."""
    at = 0
    for source in sources:
        target[at : at + len(source)] = source
        at += len(source)
    target[at:] = 0
    return at


def _lists(pieces: Sequence[Piece], name: str, rows: int) -> tuple[list[NDArray[np.int32]], NDArray[np.int32]]:
    """The ids of a jagged column, an array a piece, and the length of each of `rows` lists."""
    ids, lengths = [], np.zeros(rows, np.int32)
    at = 0
    for part, first, end in pieces:
        offsets = part.jagged[name].offsets[first : end + 1]
        lengths[at : at + end - first] = np.diff(offsets)
        ids.append(part.jagged[name].values[offsets[0] : offsets[-1]])
        at += end - first
    return ids, lengths
