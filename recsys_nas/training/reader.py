"""From day shards to training batches: memory-mapped, shuffled by blocks or by rows, the same number of batches on every rank.

The rows of the days follow each other, part after part. A step's batch is a block of `batch_size` of them, cut evenly over
the ranks: so the rows of a step do not depend on the world size, and no rank ever waits for a batch that another does not
have (TorchRec would hang). Nothing is read to know the blocks: the manifest has the counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchrec import KeyedJaggedTensor
from torchrec.streamable import Pipelineable

from data_prep.ahead import load_ahead
from data_prep.pool import default_workers
from data_prep.shards import Manifest, open_part
from data_prep.wording import counted
from recsys_nas.training.collate import Collator, Piece
from recsys_nas.training.row_shuffle import ShuffledRows

OPEN_PARTS = 64
"""Parts kept mapped at a time. Each array of one holds a file open, and a terabyte has thousands of parts."""


@dataclass
class Batch(Pipelineable):
    """One rank's share of a step: dense `[B, I]` float32, ids `[F, B]` as a KJT, labels `[B]` float32.

    The KJT holds one id an example for each sparse feature, then a list for each jagged one. `index` counts steps; the rows
    are `start` to `start + B` of the step's `step_rows`. Rows from `valid` on are padding (only in the last block of an
    evaluation).
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


def _batches_ahead() -> int:
    """None where reader and model share the only core: a thread would only cost its switches. A GPU leaves the core to the reader."""
    return 2 if default_workers() > 1 or torch.cuda.is_available() else 0


@dataclass(frozen=True)
class HeldOut:
    """The last `rows` of what is read are kept for the steps for which `turns`, bool `[steps]`, is true; the others never see them.

    Each of the two is gone through as often as its steps ask for, shuffled anew every time.
    """

    rows: int
    turns: NDArray[np.bool_]


@dataclass(frozen=True)
class ReaderOptions:
    """`shuffle_seed` None: in order, with a short last block; else blocks shuffled anew for each epoch and the short one left out.

    `shuffle_rows`: shuffle single rows instead, all of them held in memory: for small data sets.
    `days_in_order`: blocks, or single rows, are shuffled within each day only, and those of an earlier day come first.
    `table_rows`: rows of the table of each sparse and then each jagged feature; ids wrap around it. `prefetch`: batches read
    ahead by a thread; 0, the default where reader and model share the only core: none. `pin_memory`: batches in page-locked
    memory, for copies to a GPU that nothing waits for.
    `rows`: read only these of the days, from the first to before the second; None: all. `max_steps`: stop after so many batches
    (0: at the end). `held_out`: says which steps read which rows, and how many steps there are, whatever `epochs` says.
    """

    batch_size: int
    table_rows: Sequence[int]
    shuffle_seed: int | None = None
    shuffle_rows: bool = False
    epochs: int = 1
    rank: int = 0
    world_size: int = 1
    prefetch: int = field(default_factory=_batches_ahead)
    pin_memory: bool = field(default_factory=torch.cuda.is_available)
    rows: tuple[int, int] | None = None
    max_steps: int = 0
    days_in_order: bool = False
    held_out: HeldOut | None = None


class ShardReader:
    """Iterates once over the given days (`epochs` times), from wherever its state says; iterate again for another pass.

    Raises ValueError when the days hold less than a batch, or ranks cannot share it evenly, and DataError when a part is
    missing or not what the manifest says: every part is looked at here, rather than hours later.
    """

    def __init__(self, root: Path, manifest: Manifest, days: Sequence[int], options: ReaderOptions) -> None:
        if options.shuffle_seed is not None and options.batch_size % options.world_size:
            raise ValueError(f"batch_size = {options.batch_size} cannot be cut evenly over {options.world_size} ranks; choose a multiple")
        self.options = options
        self.names = [feature.name for feature in manifest.schema.categorical]
        self._collate = Collator(manifest.schema, options.table_rows, options.pin_memory)
        self._entries = [part for day in days for part in manifest.day(day).parts]
        self._ends = np.cumsum([entry.rows for entry in self._entries], dtype=np.int64)
        self._first, self._end = self._range(sum(entry.rows for entry in self._entries))
        self._day_ends = np.cumsum([manifest.day(day).rows for day in days], dtype=np.int64)
        for entry in self._entries:
            open_part(root, entry)
        self._part = lru_cache(OPEN_PARTS)(lambda number: open_part(root, self._entries[number]))
        self._starts, self._passes = self._order()
        self._shuffled: ShuffledRows | None = None
        if options.shuffle_rows and options.shuffle_seed is not None:
            parts = [self._part(number) for number in range(len(self._entries))]
            self._shuffled = ShuffledRows(parts, options.shuffle_seed, self._spans())
        self.position = 0

    def _range(self, rows: int) -> tuple[int, int]:
        first, end = self.options.rows or (0, rows)
        if not 0 <= first < end <= rows:
            raise ValueError(f"rows {first} to {end} are asked for of days that hold {rows}")
        return first, end

    def _order(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each step the first row of its block, and which pass over its rows it is part of."""
        held_out = self.options.held_out
        if held_out is None:
            blocks = self._blocks(self._first, self._end, self.options.epochs)
            steps = self.options.max_steps or blocks.size
            return blocks.flatten()[:steps], np.arange(blocks.size)[:steps] // blocks.shape[1]
        starts, passes = (np.empty(len(held_out.turns), np.int64) for _ in range(2))
        cut = self._end - held_out.rows
        for turn, first, end in ((held_out.turns, cut, self._end), (~held_out.turns, self._first, cut)):
            steps = int(turn.sum())
            a_pass = max(1, (end - first) // self.options.batch_size)
            blocks = self._blocks(first, end, max(1, -(-steps // a_pass)))
            starts[turn], passes[turn] = blocks.flatten()[:steps], np.arange(steps) // blocks.shape[1]
        return starts, passes

    def _blocks(self, first: int, end: int, epochs: int) -> NDArray[np.int64]:
        """The first row of each block of these rows, `[epochs, blocks]`, in the order of each epoch."""
        size, seed = self.options.batch_size, self.options.shuffle_seed
        starts = np.arange(first, end if seed is None else end - size + 1, size)
        if not len(starts):
            raise ValueError(f"the days hold {counted(end - first, 'row')}, fewer than one batch of {size}; lower the batch size")
        passes = [starts] * epochs
        if seed is not None and not self.options.shuffle_rows:
            passes = [np.random.Generator(np.random.Philox([seed, epoch])).permutation(starts) for epoch in range(epochs)]
        if self.options.days_in_order:
            passes = [blocks[np.searchsorted(self._day_ends, blocks, side="right").argsort(kind="stable")] for blocks in passes]
        return np.stack(passes)

    def _spans(self) -> list[tuple[int, int]]:
        """Ranges of rows whose single rows may be shuffled among each other."""
        held_out = self.options.held_out
        cuts = {self._first, self._end, *([self._end - held_out.rows] if held_out else [])}
        if self.options.days_in_order:
            cuts.update(end for end in self._day_ends.tolist() if self._first < end < self._end)
        return list(pairwise(sorted(cuts)))

    def __len__(self) -> int:
        """Steps in all, on every rank."""
        return len(self._starts)

    @property
    def epoch_ends(self) -> tuple[int, ...]:
        """After how many steps each epoch is over."""
        steps = len(self) // self.options.epochs
        return tuple(range(steps, len(self) + 1, steps))

    @property
    def total_rows(self) -> int:
        """Rows of all steps and ranks together."""
        return int((np.minimum(self._starts + self.options.batch_size, self._end) - self._starts).sum())

    def __iter__(self) -> Iterator[Batch]:
        yield from self.until(len(self))
        self.position = 0

    def until(self, step: int) -> Iterator[Batch]:
        """The batches from where the reader stands to before that step; it stands there then."""
        for batch in load_ahead(self._load, range(self.position, step), self.options.prefetch):
            self.position = batch.index + 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """How many batches were handed out, whatever has been read ahead, and a mark of which they are; plain values."""
        return {"position": self.position, "batches": self._mark, "data": self._data}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was saved. Raises ValueError when that reader's batches were others."""
        if state.get("batches") != self._mark or state.get("data", self._data) != self._data:
            raise ValueError(
                "the saved place is one among other batches: shards, days, batch size, shuffle seed and epochs must be as they were"
            )
        self.position = int(state["position"])

    @cached_property
    def _mark(self) -> int:
        mark = crc32(self._starts.tobytes(), self.options.batch_size)
        return mark if self._shuffled is None else crc32(str(self.options.shuffle_seed).encode(), mark)

    @cached_property
    def _data(self) -> int:
        """A mark of the rows themselves."""
        return crc32("".join(entry.sha256[name] for entry in self._entries for name in sorted(entry.sha256)).encode())

    def _load(self, index: int) -> Batch:
        """This rank's share of one step."""
        first = int(self._starts[index])
        end = min(first + self.options.batch_size, self._end)
        share = -(-(end - first) // self.options.world_size)
        start = first + self.options.rank * share
        stop = min(start + share, end)
        dense, sparse, labels = self._collate(list(self._pieces(index, start, stop)), share)
        return Batch(dense, sparse, labels, index, start=start - first, step_rows=end - first, valid=max(0, stop - start))

    def _pieces(self, index: int, start: int, stop: int) -> Iterator[Piece]:
        """Rows `start` to `stop` of the days, as rows of parts, in the order that they have in step `index`."""
        if self._shuffled is not None:
            if start < stop:
                yield self._shuffled.epoch(int(self._passes[index])), start, stop
            return
        number = int(np.searchsorted(self._ends, start, side="right"))
        while start < stop:
            before, end = int(self._ends[number]) - self._entries[number].rows, int(self._ends[number])
            yield self._part(number), start - before, min(stop, end) - before
            start, number = end, number + 1
