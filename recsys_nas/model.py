"""The interaction network of an `Architecture`: from the two streams to one logit.

One forward pass serves the stand-alone model, the whole supernet under gates (`recsys_nas.search.dnas`) and a sliced
path through it (`recsys_nas.supernet`), so that they cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_nas.modules import LAYERS, Inputs, InteractionModule, Shape
from recsys_nas.modules.base import bias, weight
from recsys_nas.space import Architecture, Gate

Streams = tuple[Tensor, Tensor]


# Beside the mean square of an output. With a tiny epsilon a module that has learnt nothing yet is blown up to full scale,
# and its gate closes on noise before pairs of features can be learnt (docs/log.md, 2026-11-21).
NORM_EPSILON = 0.1


class NormalisedModule(nn.Module):
    """An interaction module and the bounded normalisation of its output: `x / sqrt(mean(x^2) + 0.1)` over the features, or
    over each token's dimensions.

    RMS normalisation (Zhang and Sennrich, 2019) without its learnt scale, which could undo a gate.
    """

    def __init__(self, layer: InteractionModule, normalise: bool) -> None:
        super().__init__()
        self.layer = layer
        self.normalise = normalise

    def forward(self, inputs: Inputs) -> Tensor:
        output: Tensor = self.layer(inputs)
        return F.rms_norm(output, output.shape[-1:], eps=NORM_EPSILON) if self.normalise else output


class InteractionArch(nn.Module):
    """The dense half of a model: dense features `[B, num_dense]` and embeddings `[B, num_sparse, D]` to logits `[B]`."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.blocks = nn.ModuleDict({str(number): self._block(number) for number in architecture.reachable_blocks()})
        features = sum(head_features(architecture, source) for source in architecture.head)
        self.head = weight(1, features)
        self.skip = weight(1, architecture.num_raw_features) if architecture.linear_skip else None
        self.bias = bias(1)

    def _block(self, number: int) -> nn.ModuleDict:
        architecture, block = self.architecture, self.architecture.blocks[number - 1]
        dense_in = sum(architecture.dense_width(source) for source in block.sources)
        tokens_in = sum(architecture.num_tokens(source) for source in block.sources)
        modules = {}
        # Sorted, so that a sum of modules has one order and equal networks give equal bits.
        for name in sorted(block.modules):
            layer = LAYERS[name](Shape(dense_in, tokens_in, architecture.embedding_dim, block.width_of(name)))
            modules[name] = NormalisedModule(layer, architecture.normalise)
        return nn.ModuleDict(modules)

    def forward(self, dense: Tensor, tokens: Tensor, gates: Mapping[Gate, Tensor] | None = None) -> Tensor:
        """`[B, num_dense]`, `[B, num_sparse, D]` and, in a search, a factor `[B]` for each gate -> logits `[B]`."""
        raw = torch.cat([dense, tokens.flatten(1)], dim=1)
        outputs: dict[int, Streams] = {0: (raw if self.architecture.stem == "flat" else dense, tokens)}
        for name, modules in self.blocks.items():
            number = int(name)
            inputs = _join(outputs, self.architecture.blocks[number - 1].sources)
            outputs[number] = self._run_block(number, modules, inputs, gates)
        logits: Tensor = self.bias
        if self.head.shape[1]:
            read = [stream.flatten(1) for source in sorted(self.architecture.head) if source in outputs for stream in outputs[source]]
            logits = logits + F.linear(torch.cat(read, dim=1), self.head)
        if self.skip is not None:
            logits = logits + F.linear(raw, self.skip)
        return logits.squeeze(1)

    def _run_block(self, number: int, modules: nn.Module, inputs: Streams, gates: Mapping[Gate, Tensor] | None) -> Streams:
        made: dict[str, Tensor] = {}
        for name, module in modules.named_children():
            output = module(Inputs(*inputs, inputs[0][:, :0]))
            if gates is not None:
                output = output * gates[Gate(number, name)].view(-1, *(1,) * (output.dim() - 1))
            stream = "dense" if name in self.architecture.blocks[number - 1].dense else "sparse"
            made[stream] = made[stream] + output if stream in made else output
        dense, tokens = inputs
        return made.get("dense", dense[:, :0]), made.get("sparse", tokens[:, :0])


def head_features(architecture: Architecture, source: int) -> int:
    """Features that the head reads from a source: its dense stream and its tokens, flattened."""
    return architecture.dense_width(source) + architecture.num_tokens(source) * architecture.embedding_dim


def _join(outputs: Mapping[int, Streams], sources: Sequence[int]) -> Streams:
    read = [outputs[source] for source in sorted(sources) if source in outputs]
    if len(read) == 1:
        return read[0]
    return torch.cat([dense for dense, _ in read], dim=1), torch.cat([tokens for _, tokens in read], dim=1)
