"""One set of full-size weights for a whole space: run any member on a slice of them, or take the member out.

A member is never masked. Its own network (`recsys_nas.model.InteractionArch`) is run with parameters that are slices of
the full ones, so a path costs what the stand-alone model costs and normalises over itself alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.func import functional_call

from recsys_nas.model import MERGE_TO_DENSE, MERGE_TO_TOKENS, InteractionArch, head_features
from recsys_nas.modules import Part
from recsys_nas.slicing import Cut, cut_of, cut_out
from recsys_nas.space import PORTS, STREAM_OF, Architecture, Block, ModuleChoice, Stream

# Members whose slices are kept: a fixed population is cut once, while of a large space the next draw is always new.
REMEMBERED = 256


class Supernet(nn.Module):
    """Weights of `hull`, a network that holds every member of a space (`SearchSpace.full`), shared by all of them.

    A member has as many blocks as the hull; its sources, modules, widths and mergers lie within the hull's. `dropout`: of the hull
    itself while it is trained, as in `InteractionArch`.
    """

    def __init__(self, hull: Architecture, dropout: float = 0.0) -> None:
        super().__init__()
        self.full = InteractionArch(hull, shared=True, dropout=dropout)
        self._known: dict[tuple[Architecture, torch.device], dict[tuple[str, str], dict[str, Cut]]] = {}

    def forward(self, dense: Tensor, tokens: Tensor, architecture: Architecture) -> Tensor:
        """`[B, num_dense]`, `[B, num_sparse, D]` -> logits `[B]` of one member. Raises ValueError for a network outside the hull."""
        return functional_call(skeleton(architecture), self.sliced_parameters(architecture), (dense, tokens))

    def extract(self, architecture: Architecture) -> InteractionArch:
        """A stand-alone copy of a member, with its own weights; the supernet stays as it is."""
        # Weights are put in place rather than copied in: no draw from the global generator, no rounding to its default type.
        derived = deepcopy(skeleton(architecture))
        weights = {name: value.detach().clone() for name, value in self.sliced_parameters(architecture).items()}
        # Statistics of batches are those of a network by itself: there are none yet.
        like = self.full.bias
        none = {
            name: torch.zeros_like(b, device=like.device, dtype=like.dtype if b.is_floating_point() else None)
            for name, b in derived.named_buffers()
        }
        derived.load_state_dict(weights | none, assign=True)
        return derived

    def sliced_parameters(self, architecture: Architecture) -> dict[str, Tensor]:
        """The member's parameters by name, as slices of the full ones that pass gradients on."""
        return {name: cut_out(full, cut) for name, full, cut in self.cuts(architecture)}

    def cuts(self, architecture: Architecture) -> Iterator[tuple[str, nn.Parameter, Cut]]:
        """Each parameter of the member: its name there, the full-size one, and what it takes of that."""
        for (number, name), cuts in self._cuts(architecture).items():
            owner: nn.Module = self.full.blocks[number][name] if number else self.full  # type: ignore[index]
            prefix = f"blocks.{number}.{name}." if number else ""
            for parameter, cut in cuts.items():
                yield prefix + parameter, owner.get_parameter(parameter), cut

    def _cuts(self, architecture: Architecture) -> dict[tuple[str, str], dict[str, Cut]]:
        """For each module and merger of the member, and for the head, what it takes of each full-size parameter."""
        device = self.full.bias.device
        if (architecture, device) in self._known:
            return self._known[architecture, device]
        check_within(architecture, self.full.architecture)
        hull, member = self.full.live, architecture.live()
        whole = slice(None)
        cuts: dict[tuple[str, str], dict[str, Cut]] = {("", "head"): {"bias": (whole,)}}
        if hull.linear_skip:
            cuts["", "head"]["skip"] = (whole, whole)
        cuts["", "head"]["head"] = cut_of((whole, _head_positions(member, hull)), device)
        for number in map(str, architecture.reachable_blocks()):
            for name, part in _parts(member, hull, int(number)).items():
                slices = self.full.blocks[number][name].slices(part)  # type: ignore[index]
                cuts[number, name] = {parameter: cut_of(index, device) for parameter, index in slices.items()}
        while len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[architecture, device] = cuts
        return cuts


def _parts(member: Architecture, hull: Architecture, number: int) -> dict[str, Part]:
    """The part of each module and merger of a block that the member uses, by name; both networks live."""
    block, full = member.blocks[number - 1], hull.blocks[number - 1]
    hull_modules = {module.name: module for module in full.modules}
    none = torch.arange(0)
    parts = {}
    for module in block.modules:
        held = hull_modules[module.name]
        dense, tokens, right = (_positions(member, hull, STREAM_OF[port], module.sources(port), held.sources(port)) for port in PORTS)
        parts[module.name] = Part(dense, tokens, right, block.width_of(module))
    if block.tokens_to_dense:
        parts[MERGE_TO_DENSE] = Part(none, torch.arange(block.num_tokens), none, block.dense_width)
    if block.dense_to_tokens:
        parts[MERGE_TO_TOKENS] = Part(torch.arange(block.dense_width), none, none, block.dense_to_tokens)
    return parts


def _positions(member: Architecture, hull: Architecture, stream: Stream, sources: tuple[int, ...], all_sources: tuple[int, ...]) -> Tensor:
    """Where what a member's module reads lies among what the hull's reads: positions of features or of tokens, ascending."""
    positions = [torch.arange(0)]
    start = 0
    for source in sorted(all_sources):
        if source in sources:
            positions += [start + places for places in _places(member, hull, source, stream)]
        start += hull.width(source, stream)
    return torch.cat(positions)


def _places(member: Architecture, hull: Architecture, source: int, stream: Stream) -> list[Tensor]:
    """Where a member's output lies in the same block's output of the hull: its first features; its first tokens, and of
    those that the merger appends behind all tokens the first."""
    if source == 0 or stream == "dense":
        return [torch.arange(member.width(source, stream))]
    block, behind = member.blocks[source - 1], hull.blocks[source - 1].num_tokens
    return [torch.arange(block.num_tokens), torch.arange(behind, behind + block.dense_to_tokens)]


def _head_positions(member: Architecture, hull: Architecture) -> Tensor:
    columns = [torch.arange(0)]
    start, dim = 0, torch.arange(hull.embedding_dim)
    for source in sorted(hull.head):
        if source in member.head:
            columns += [start + places for places in _places(member, hull, source, "dense")]
            tokens_at = start + hull.width(source, "dense")
            columns += [(tokens_at + places.unsqueeze(1) * len(dim) + dim).flatten() for places in _places(member, hull, source, "sparse")]
        start += head_features(hull, source)
    return torch.cat(columns)


@lru_cache(maxsize=REMEMBERED)
def skeleton(architecture: Architecture, dropout: float = 0.0) -> InteractionArch:
    """The member's network without memory of its own, to be run with slices, in training mode."""
    with torch.device("meta"):
        return InteractionArch(architecture, dropout=dropout)


def check_within(member: Architecture, hull: Architecture) -> None:
    """Raises ValueError naming the block in which the member reaches beyond the hull."""
    for name in ("num_dense", "num_sparse", "embedding_dim", "stem", "normalisation", "linear_skip"):
        if getattr(member, name) != getattr(hull, name):
            raise ValueError(f"{name} = {getattr(member, name)!r}: the supernet has {getattr(hull, name)!r}")
    if len(member.blocks) != len(hull.blocks):
        raise ValueError(f"blocks: {len(member.blocks)} of them, the supernet has {len(hull.blocks)}")
    if not set(member.head) <= set(hull.head):
        raise ValueError(f"head: {list(member.head)} reaches beyond the supernet's {list(hull.head)}")
    for i, (block, full) in enumerate(zip(member.blocks, hull.blocks, strict=True)):
        if not _lies_within(block, full):
            raise ValueError(f"blocks[{i}]: its sources, modules, widths or mergers go beyond the supernet's")


def _lies_within(block: Block, full: Block) -> bool:
    held: dict[str, ModuleChoice] = {module.name: module for module in full.modules}
    for module in block.modules:
        if module.name not in held or any(not set(module.sources(port)) <= set(held[module.name].sources(port)) for port in PORTS):
            return False
    narrower = block.dense_width <= full.dense_width and block.num_tokens <= full.num_tokens
    return narrower and block.dense_to_tokens <= full.dense_to_tokens and block.tokens_to_dense <= full.tokens_to_dense
