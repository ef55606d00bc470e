"""First weights of the tables, the same under every sharding plan and world size.

TorchRec draws the weights of a sharded table shard by shard, so they depend on the plan. Here each block of rows of each
table has a generator of its own, keyed by seed, table and block, and a shard takes its part of it.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn
from torch.distributed._shard.sharded_tensor import ShardedTensor

ROWS_PER_BLOCK = 65536


def initialise_tables(sharded: nn.Module, seed: int, scale: float) -> None:
    """Fill every table in `sharded` with N(0, scale^2), in place, from `seed` and the table's name alone."""
    for name, value in sharded.state_dict().items():
        table = name.split(".")[-2]
        if isinstance(value, ShardedTensor):
            width = value.metadata().size[1]
            for shard in value.local_shards():
                row, column = shard.metadata.shard_offsets
                _fill(shard.tensor, table, seed, scale, (row, column, width))
        elif isinstance(value, Tensor):
            _fill(value, table, seed, scale, (0, 0, value.shape[1]))


def _fill(target: Tensor, table: str, seed: int, scale: float, place: tuple[int, int, int]) -> None:
    """Fill a shard that starts at (row, column) of a table of `width` columns."""
    row, column, width = place
    end = row + target.shape[0]
    with torch.no_grad():
        for block in range(row // ROWS_PER_BLOCK, -(-end // ROWS_PER_BLOCK)):
            start = block * ROWS_PER_BLOCK
            generator = torch.Generator().manual_seed(_seed(seed, table, block))
            values = torch.randn(ROWS_PER_BLOCK, width, generator=generator) * scale
            first, last = max(row, start), min(end, start + ROWS_PER_BLOCK)
            part = values[first - start : last - start, column : column + target.shape[1]]
            target[first - row : last - row].copy_(part)


def _seed(seed: int, table: str, block: int) -> int:
    digest = hashlib.sha256(f"{seed}/{table}/{block}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
