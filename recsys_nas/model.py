"""The interaction network of an `Architecture`: from the two streams to one logit.

One forward pass serves the stand-alone model, the whole supernet under gates (`recsys_nas.search.dnas`) and a sliced
path through it (`recsys_nas.supernet`), so that they cannot drift apart. What never reaches the head is not built.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from recsys_nas.modules import LAYERS, Inputs, InteractionModule, Shape
from recsys_nas.modules.base import bias, weight
from recsys_nas.modules.mergers import DenseToTokens, TokensToDense
from recsys_nas.modules.normalised import NormalisedModule
from recsys_nas.precision import linear_outside_autocast
from recsys_nas.space import PORTS, STREAM_OF, Architecture, Gate, ModuleChoice, Port, Stream

MERGE_TO_DENSE, MERGE_TO_TOKENS = "merge_to_dense", "merge_to_tokens"
MERGERS: dict[str, type[InteractionModule]] = {MERGE_TO_DENSE: TokensToDense, MERGE_TO_TOKENS: DenseToTokens}
"""Under the names that they have beside the modules of a block."""


class Piece(NamedTuple):
    """A module or merger of a live network: its name, its layer and the sizes of that."""

    name: str
    layer: type[InteractionModule]
    shape: Shape


def pieces(live: Architecture, number: int) -> Iterator[Piece]:
    """All that block `number` of a live network (`Architecture.live`) is made of, in the order in which weights are drawn."""
    block, dim = live.blocks[number - 1], live.embedding_dim
    # Sorted, so that a sum of modules has one order and equal networks give equal bits.
    for module in sorted(block.modules, key=lambda module: module.name):
        dense, tokens, right = (live.joined_width(module, port) for port in PORTS)
        yield Piece(module.name, LAYERS[module.name], Shape(dense, tokens, dim, block.width_of(module), right))
    if block.tokens_to_dense:
        yield Piece(MERGE_TO_DENSE, TokensToDense, Shape(0, block.num_tokens, dim, block.dense_width))
    if block.dense_to_tokens:
        yield Piece(MERGE_TO_TOKENS, DenseToTokens, Shape(block.dense_width, 0, dim, block.dense_to_tokens))


class InteractionArch(nn.Module):
    """The dense half of a model: dense features `[B, num_dense]` and embeddings `[B, num_sparse, D]` to logits `[B]`.

    `shared`: hold every parameter that a smaller network may slice (`recsys_nas.modules.InteractionModule`). `dropout`: the share
    of every module's output that is set to zero while training; it is no part of the network that serves.
    """

    def __init__(self, architecture: Architecture, shared: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.architecture = architecture
        self.dropout = dropout
        self.live = live = architecture.live()
        self.blocks = nn.ModuleDict({str(number): self._block(number, shared) for number in architecture.reachable_blocks()})
        self.head = weight(1, sum(head_features(live, source) for source in live.head))
        self.skip = weight(1, live.num_raw_features) if live.linear_skip else None
        self.bias = bias(1)

    def _block(self, number: int, shared: bool) -> nn.ModuleDict:
        normalisation = self.architecture.normalisation
        made = pieces(self.live, number)
        return nn.ModuleDict(
            {piece.name: NormalisedModule(piece.layer(piece.shape, shared), normalisation, self.dropout) for piece in made}
        )

    def forward(
        self,
        dense: Tensor,
        tokens: Tensor,
        gates: Mapping[Gate, Tensor] | None = None,
        added: Mapping[tuple[int, Stream], Tensor] | None = None,
    ) -> Tensor:
        """`[B, num_dense]`, `[B, num_sparse, D]` -> logits `[B]`.

        In a search also a factor `[B]` for each gate, and what other modules add to a stream of a block; a stream that the block
        does not make takes nothing.
        """
        read, raw = self.last_features(dense, tokens, gates, added)
        logits: Tensor = self.bias
        if self.head.shape[1]:
            logits = logits + linear_outside_autocast(read, self.head)
        if self.skip is not None:
            logits = logits + linear_outside_autocast(raw, self.skip)
        return logits.squeeze(1)

    def last_features(
        self,
        dense: Tensor,
        tokens: Tensor,
        gates: Mapping[Gate, Tensor] | None = None,
        added: Mapping[tuple[int, Stream], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What the last layer reads: by its head, `[B, H]`, and by the linear skip, the raw stem `[B, num_raw_features]`."""
        raw = torch.cat([dense, tokens.flatten(1)], dim=1)
        streams = Streams(self.live, raw if self.live.stem == "flat" else dense, tokens)
        for name, modules in self.blocks.items():
            self._run_block(int(name), modules, streams, gates, added or {})
        return (streams.flattened(sorted(self.live.head)) if self.head.shape[1] else raw[:, :0]), raw

    def _run_block(
        self,
        number: int,
        modules: nn.Module,
        streams: Streams,
        gates: Mapping[Gate, Tensor] | None,
        added: Mapping[tuple[int, Stream], Tensor],
    ) -> None:
        block = self.live.blocks[number - 1]
        layers = dict(modules.named_children())
        made: dict[Stream, Tensor] = {}
        for module in sorted(block.modules, key=lambda module: module.name):
            output = layers[module.name](streams.inputs(module))
            if gates is not None:
                output = output * gates[Gate(number, module.name)].view(-1, *(1,) * (output.dim() - 1))
            made[module.makes] = made[module.makes] + output if module.makes in made else output
        made = {stream: output + added[number, stream] if (number, stream) in added else output for stream, output in made.items()}
        dense, tokens = made.get("dense"), made.get("sparse")
        empty = streams.empty
        merged_dense, merged_tokens = dense, tokens
        if block.tokens_to_dense and tokens is not None:
            summed = layers[MERGE_TO_DENSE](Inputs(empty.dense, tokens, empty.right))
            merged_dense = summed if dense is None else dense + summed
        if block.dense_to_tokens and dense is not None:
            appended = layers[MERGE_TO_TOKENS](Inputs(dense, empty.tokens, empty.right))
            merged_tokens = appended if tokens is None else torch.cat([tokens, appended], dim=1)
        streams.add(number, merged_dense, merged_tokens)


class Streams:
    """What the stem and the blocks so far have made, joined as modules ask for it; each join is made once."""

    def __init__(self, live: Architecture, dense: Tensor, tokens: Tensor) -> None:
        self.live = live
        self.empty = Inputs(dense[:, :0], tokens[:, :0], dense[:, :0])
        self._joined: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        self.add(0, dense, tokens)

    def add(self, source: int, dense: Tensor | None, tokens: Tensor | None) -> None:
        if dense is not None:
            self._joined["dense", (source,)] = dense
        if tokens is not None:
            self._joined["sparse", (source,)] = tokens

    def inputs(self, module: ModuleChoice) -> Inputs:
        """What a module reads: dense `[B, F]`, tokens `[B, N, D]` and second dense input `[B, R]`."""
        return Inputs(*(self._join(port, module.sources(port)) for port in PORTS))

    def flattened(self, sources: list[int]) -> Tensor:
        """Both streams of these sources side by side `[B, features]`, tokens flattened."""
        kept = [self._joined[stream, (s,)].flatten(1) for s in sources for stream in ("dense", "sparse") if self.live.width(s, stream)]
        return kept[0] if len(kept) == 1 else torch.cat(kept, dim=1)

    def _join(self, port: Port, sources: tuple[int, ...]) -> Tensor:
        if not sources:
            empty: Tensor = getattr(self.empty, "tokens" if port == "sparse" else port)
            return empty
        key = (STREAM_OF[port], tuple(sorted(sources)))
        if key not in self._joined:
            self._joined[key] = torch.cat([self._joined[key[0], (source,)] for source in key[1]], dim=1)
        return self._joined[key]


def head_features(architecture: Architecture, source: int) -> int:
    """Features that the head reads from a source: its dense stream and its tokens, flattened."""
    return architecture.width(source, "dense") + architecture.width(source, "sparse") * architecture.embedding_dim
