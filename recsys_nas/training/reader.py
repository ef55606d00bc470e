"""From day shards to training batches: memory-mapped, shuffled block by block, the same number of batches on every rank.

A step's batch is a contiguous block of `batch_size` rows, cut evenly over the ranks, so that the rows of a step do not
depend on the world size, and no rank ever waits for a batch that another does not have (TorchRec would hang).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchrec import KeyedJaggedTensor
from torchrec.streamable import Pipelineable

from data_prep.shards import Manifest, Part, open_part


@dataclass
class Batch(Pipelineable):
    """One rank's share of a step: dense `[B, I]` float32, one id a feature `[F, B]` as a KJT, labels `[B]` float32.

    `index` counts steps; the rows are `start` to `start + B` of the step's `step_rows`. Rows from `valid` on are padding
    (only in the last block of an evaluation).
    """

    dense: Tensor
    sparse: KeyedJaggedTensor
    labels: Tensor
    index: int
    start: int
    step_rows: int
    valid: int

    def to(self, device: torch.device, non_blocking: bool = False) -> Batch:
        moved = (value.to(device, non_blocking=non_blocking) for value in (self.dense, self.sparse, self.labels))
        return Batch(*moved, self.index, self.start, self.step_rows, self.valid)

    def record_stream(self, stream: torch.Stream) -> None:
        for value in (self.dense, self.sparse, self.labels):
            value.record_stream(stream)

    def pin_memory(self) -> Batch:
        return Batch(*(v.pin_memory() for v in (self.dense, self.sparse, self.labels)), self.index, self.start, self.step_rows, self.valid)


@dataclass(frozen=True)
class ReaderOptions:
    """`shuffle_seed` None: in order, keeping the short last block of each part; else blocks shuffled and short ones left out.

    `table_rows`: rows of each feature's table; ids wrap around it.
    """

    batch_size: int
    table_rows: Sequence[int]
    shuffle_seed: int | None = None
    epochs: int = 1
    rank: int = 0
    world_size: int = 1


class ShardReader:
    """Iterates once over the given days (`epochs` times), from wherever its state says; iterate again for another pass."""

    def __init__(self, root: Path, manifest: Manifest, days: Sequence[int], options: ReaderOptions) -> None:
        if options.shuffle_seed is not None and options.batch_size % options.world_size:
            raise ValueError(f"batch_size = {options.batch_size} cannot be cut evenly over {options.world_size} ranks; choose a multiple")
        self.options = options
        self.names = [feature.name for feature in manifest.schema.sparse]
        self._ids_wrap = np.asarray(options.table_rows, dtype=np.int32)
        self._wraps = any(f.num_embeddings > rows for f, rows in zip(manifest.schema.sparse, options.table_rows, strict=True))
        self._parts: list[Part] = [open_part(root, part) for day in days for part in manifest.day(day).parts]
        self._blocks = self._order(self._cut())
        self.position = 0

    def _cut(self) -> NDArray[np.int64]:
        """All blocks as rows (part, first row, last row + 1)."""
        size, keep_short = self.options.batch_size, self.options.shuffle_seed is None
        blocks = [
            (number, start, min(start + size, part.rows))
            for number, part in enumerate(self._parts)
            for start in range(0, part.rows, size)
            if keep_short or start + size <= part.rows
        ]
        if not blocks:
            raise ValueError(f"the days hold fewer rows than one batch of {size}; lower the batch size")
        return np.asarray(blocks, dtype=np.int64)

    def _order(self, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
        if self.options.shuffle_seed is None:
            return blocks
        passes = [np.random.Generator(np.random.Philox([self.options.shuffle_seed, epoch])) for epoch in range(self.options.epochs)]
        return np.concatenate([generator.permutation(blocks) for generator in passes])

    def __len__(self) -> int:
        """Steps in all, on every rank."""
        return len(self._blocks)

    @property
    def total_rows(self) -> int:
        return int((self._blocks[:, 2] - self._blocks[:, 1]).sum())

    def __iter__(self) -> Iterator[Batch]:
        while self.position < len(self._blocks):
            batch = self._load(self.position)
            self.position += 1
            yield batch
        self.position = 0

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = int(state["position"])

    def _load(self, index: int) -> Batch:
        number, first, end = (int(value) for value in self._blocks[index])
        share = -(-(end - first) // self.options.world_size)
        start = first + self.options.rank * share
        part, rows = self._parts[number], np.arange(start, start + share)
        taken: slice | NDArray[np.int64] = slice(start, start + share) if start + share <= end else np.minimum(rows, end - 1)
        sparse = part.sparse[taken]
        if self._wraps:
            sparse = sparse % self._ids_wrap
        return Batch(
            dense=torch.from_numpy(np.array(part.dense[taken])),
            sparse=self._keyed(np.array(sparse.T, order="C"), share),
            labels=torch.from_numpy(part.label[taken].astype(np.float32)).view(-1),
            index=index,
            start=start - first,
            step_rows=end - first,
            valid=max(0, min(share, end - start)),
        )

    def _keyed(self, ids: NDArray[np.int32], rows: int) -> KeyedJaggedTensor:
        count = len(self.names) * rows
        return KeyedJaggedTensor(
            keys=self.names,
            values=torch.from_numpy(ids).view(-1),
            lengths=torch.ones(count, dtype=torch.int32),
            offsets=torch.arange(count + 1, dtype=torch.int32),
            stride=rows,
        )
