"""Reads architecture files of version 1, where a block named its sources once for all of its modules, and merged nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recsys_nas.space.block import Block
from recsys_nas.space.modules import check_modules
from recsys_nas.space.stored import mapping, parse_fields


@dataclass(frozen=True)
class _Block:
    sources: tuple[int, ...]
    dense: tuple[str, ...] = ()
    dense_width: int = 0
    sparse: tuple[str, ...] = ()
    num_tokens: int = 0


def from_version_1(fields: dict[str, Any]) -> tuple[dict[str, Any], tuple[Block, ...]]:
    """The fields besides the blocks under their names of today, and the blocks; raises ValueError with the path in the old file."""
    fields = dict(fields)
    if "normalisation" in fields:
        raise ValueError("normalisation: no such field in version 1; there it is normalise")
    blocks = tuple(_block(block, f"blocks[{i}]") for i, block in enumerate(fields.pop("blocks")))
    if "normalise" in fields:
        value = fields.pop("normalise")
        if not isinstance(value, bool):
            raise ValueError(f"normalise = {value!r}: must be of type bool")
        fields["normalisation"] = "rms" if value else "none"
    return fields, blocks


def _block(value: Any, where: str) -> Block:
    old: _Block = parse_fields(_Block, mapping(value, where), f"{where}.")
    check_modules(old.dense, "dense", f"{where}.{{}}")
    check_modules(old.sparse, "sparse", f"{where}.{{}}")
    return Block.reading(old.sources, old.dense, old.dense_width, old.sparse, old.num_tokens)
