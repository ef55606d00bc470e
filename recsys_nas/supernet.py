"""One set of full-size weights for a whole space: run any member on a slice of them, or take the member out.

A member is never masked. Its own network (`recsys_nas.model.InteractionArch`) is run with parameters that are slices of
the full ones, so a path costs what the stand-alone model costs and normalises over itself alone.
"""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.func import functional_call

from recsys_nas.model import InteractionArch, head_features
from recsys_nas.modules import InteractionModule, Part, take
from recsys_nas.space import Architecture


class Supernet(nn.Module):
    """Weights of `hull`, the largest member of a space, shared by every member.

    A member has as many blocks as the hull; its sources, modules and widths lie within the hull's.
    """

    def __init__(self, hull: Architecture) -> None:
        super().__init__()
        self.full = InteractionArch(hull)

    def forward(self, dense: Tensor, tokens: Tensor, architecture: Architecture) -> Tensor:
        """`[B, num_dense]`, `[B, num_sparse, D]` -> logits `[B]` of one member. Raises ValueError for a network outside the hull."""
        return functional_call(_skeleton(architecture), self.sliced_parameters(architecture), (dense, tokens))

    def extract(self, architecture: Architecture) -> InteractionArch:
        """A stand-alone copy of a member, with its own weights; the supernet stays as it is."""
        # Weights are put in place rather than copied in: no draw from the global generator, no rounding to its default type.
        derived = deepcopy(_skeleton(architecture))
        weights = {name: value.detach().clone() for name, value in self.sliced_parameters(architecture).items()}
        derived.load_state_dict(weights, assign=True)
        return derived

    def sliced_parameters(self, architecture: Architecture) -> dict[str, Tensor]:
        """The member's parameters by name, as slices of the full ones that pass gradients on."""
        hull, full = self.full.architecture, self.full
        _check_within(architecture, hull)
        sliced: dict[str, Tensor] = {"bias": full.bias}
        for number in architecture.reachable_blocks():
            block = architecture.blocks[number - 1]
            positions = self._positions(architecture, hull.blocks[number - 1].sources, block.sources)
            for name in block.modules:
                out = block.width_of(name)
                module = full.blocks[str(number)][name]  # type: ignore[index]
                sliced |= _module_slices(module.layer, f"blocks.{number}.{name}", Part(*positions, positions[0][:0], out))
        sliced["head"] = full.head.index_select(1, self._head_positions(architecture))
        if full.skip is not None:
            sliced["skip"] = full.skip
        return sliced

    def _positions(self, architecture: Architecture, all_sources: tuple[int, ...], sources: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Where the member's inputs lie among the hull's: positions of dense features and of tokens."""
        hull, live = self.full.architecture, {0, *architecture.reachable_blocks()}
        dense: list[int] = []
        tokens: list[int] = []
        dense_at, tokens_at = 0, 0
        for source in sorted(all_sources):
            if source in sources and source in live:
                dense += range(dense_at, dense_at + architecture.dense_width(source))
                tokens += range(tokens_at, tokens_at + architecture.num_tokens(source))
            dense_at += hull.dense_width(source)
            tokens_at += hull.num_tokens(source)
        return self._index(dense), self._index(tokens)

    def _head_positions(self, architecture: Architecture) -> Tensor:
        hull, live = self.full.architecture, {0, *architecture.reachable_blocks()}
        columns: list[int] = []
        start = 0
        for source in sorted(hull.head):
            if source in architecture.head and source in live:
                columns += range(start, start + architecture.dense_width(source))
                tokens_at = start + hull.dense_width(source)
                columns += range(tokens_at, tokens_at + architecture.num_tokens(source) * architecture.embedding_dim)
            start += head_features(hull, source)
        return self._index(columns)

    def _index(self, positions: list[int]) -> Tensor:
        return torch.tensor(positions, dtype=torch.long, device=self.full.bias.device)


def _module_slices(layer: InteractionModule, prefix: str, part: Part) -> dict[str, Tensor]:
    return {f"{prefix}.layer.{name}": take(getattr(layer, name), index) for name, index in layer.slices(part).items()}


@lru_cache(maxsize=256)
def _skeleton(architecture: Architecture) -> InteractionArch:
    """The member's network without memory of its own, to be run with slices."""
    with torch.device("meta"):
        return InteractionArch(architecture)


def _check_within(member: Architecture, hull: Architecture) -> None:
    for name in ("num_dense", "num_sparse", "embedding_dim", "stem", "normalise", "linear_skip"):
        if getattr(member, name) != getattr(hull, name):
            raise ValueError(f"{name} = {getattr(member, name)!r}: the supernet has {getattr(hull, name)!r}")
    if len(member.blocks) != len(hull.blocks):
        raise ValueError(f"blocks: {len(member.blocks)} of them, the supernet has {len(hull.blocks)}")
    if not set(member.head) <= set(hull.head):
        raise ValueError(f"head: {list(member.head)} reaches beyond the supernet's {list(hull.head)}")
    for i, (block, full) in enumerate(zip(member.blocks, hull.blocks, strict=True)):
        within = set(block.sources) <= set(full.sources) and set(block.dense) <= set(full.dense) and set(block.sparse) <= set(full.sparse)
        if not within or block.dense_width > full.dense_width or block.num_tokens > full.num_tokens:
            raise ValueError(f"blocks[{i}]: its sources, modules or widths go beyond the supernet's")
