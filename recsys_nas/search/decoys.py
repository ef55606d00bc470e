"""Decoys: modules fed the features of other rows, so that nothing they say can help. A search that keeps one is not to be believed.

A decoy is the twin of a module of the space: the same layer, in the same block, behind a gate of its own, at the same price. It reads
the stem, its rows dealt out anew in every step, and passes no gradient on to the tables. It never gets into an architecture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from recsys_nas.modules import LAYERS, Inputs, Shape
from recsys_nas.modules.normalised import NormalisedModule
from recsys_nas.space import PORTS, Architecture, Gate, ModuleChoice, SearchSpace, Stream, module_kind

# Keeps the shuffling apart from other draws that are keyed by the same seed.
SHUFFLE_STREAM = 2


def twins(space: SearchSpace, count: int) -> tuple[Gate, ...]:
    """The gates whose modules get a decoy: spread evenly over the space, in turn when there are more decoys than gates."""
    gates = space.gates
    step = max(1, len(gates) // max(count, 1))
    return tuple(gates[number * step % len(gates)] for number in range(count))


class Place(NamedTuple):
    """Where a batch stands: its step, and its rows among those of the step over all ranks."""

    step: int
    rows: slice
    step_rows: int


class Decoys(nn.Module):
    """The decoys of a supernet, in the order of `gates`, each the twin of the gate there, with the same dropout behind it."""

    def __init__(self, space: SearchSpace, count: int, seed: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.gates = twins(space, count)
        self.seed = seed
        self.hull = space.full()
        shapes = [_shape(self.hull, gate) for gate in self.gates]
        layers = [LAYERS[gate.module](shape) for gate, shape in zip(self.gates, shapes, strict=True)]
        self.layers = nn.ModuleList(NormalisedModule(layer, self.hull.normalisation, dropout) for layer in layers)
        self.flops = [float(LAYERS[gate.module].flops(shape)) for gate, shape in zip(self.gates, shapes, strict=True)]

    def forward(self, dense: Tensor, tokens: Tensor, values: Sequence[Tensor | None], place: Place) -> dict[tuple[int, Stream], Tensor]:
        """`[B, I]`, `[B, N, D]` and each decoy's gate `[B]` (None: it has left) -> what decoys add, by block and stream."""
        inputs = self._shuffled(dense.detach(), tokens.detach(), place)
        added: dict[tuple[int, Stream], Tensor] = {}
        for gate, layer, value in zip(self.gates, self.layers, values, strict=True):
            if value is None:
                continue
            output = layer(inputs)
            output = output * value.view(-1, *(1,) * (output.dim() - 1))
            key = (gate.block, module_kind(gate.module, "decoy").makes)
            added[key] = added[key] + output if key in added else output
        return added

    def _shuffled(self, dense: Tensor, tokens: Tensor, place: Place) -> Inputs:
        """The stem with its rows dealt out anew over the whole step: the same for any number of ranks."""
        if len(dense) < place.step_rows:
            dense, tokens = _of_all_ranks(dense), _of_all_ranks(tokens)
        generator = np.random.Generator(np.random.Philox([self.seed, place.step, SHUFFLE_STREAM]))
        others = torch.from_numpy(generator.permutation(place.step_rows)[place.rows]).to(dense.device)
        dense, tokens = dense[others], tokens[others]
        if self.hull.stem == "flat":
            dense = torch.cat([dense, tokens.flatten(1)], dim=1)
        return Inputs(dense, tokens, dense)


def _shape(hull: Architecture, gate: Gate) -> Shape:
    """Sizes of a module of that block that reads the stem alone."""
    reads = {port: (0,) for port in PORTS if port in module_kind(gate.module, "decoy").reads}
    module = ModuleChoice(gate.module, **reads)
    dense, tokens, right = (hull.joined_width(module, port) for port in PORTS)
    return Shape(dense, tokens, hull.embedding_dim, hull.blocks[gate.block - 1].width_of(module), right)


def _of_all_ranks(values: Tensor) -> Tensor:
    """The rows of all ranks, rank by rank; every rank has as many."""
    gathered = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, values.contiguous())
    return torch.cat(gathered)
