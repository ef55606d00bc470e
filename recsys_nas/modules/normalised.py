"""What follows every module of a network: normalisation of its output, and dropout while it is trained."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_nas.modules.base import Index, Inputs, InteractionModule, Part, RectifiedModule, bias
from recsys_nas.modules.dropout import dropout

# Beside the mean square of an output. With a tiny epsilon a module that has learnt nothing yet is blown up to full scale,
# and its gate closes on noise before pairs of features can be learnt (docs/log.md, 2026-11-21).
NORM_EPSILON = 0.1
LAYER_NORM_EPSILON = 1e-5
BATCH_NORM_EPSILON = 1e-5
MOMENTUM = 0.1


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy, 2015) of features `[B, C]` or tokens `[B, C, D]`, with a learnt shift, but no
    learnt scale, which could undo a gate.

    While training, and in evaluation as long as there are no statistics, the batch's own are used: so a path through a
    supernet, which has none, is normalised by those of that path alone. Training a network gathers running ones.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = bias(channels)
        self.mean: Tensor
        self.variance: Tensor
        self.batches: Tensor
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))
        self._measured = False

    def train(self, mode: bool = True) -> Self:
        # Looked up here, and not in every forward pass: it waits for a GPU, and an exported graph cannot branch on it.
        self._measured = not self.batches.is_meta and bool(self.batches)
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous()  # or the layout of the output, and with it later copies, would hang on the device
        if self._measured and not self.training:
            normalised = F.batch_norm(x, self.mean, self.variance, eps=BATCH_NORM_EPSILON)
        elif self.training and not self.mean.is_meta:
            self.batches += 1
            normalised = F.batch_norm(x, self.mean, self.variance, training=True, momentum=MOMENTUM, eps=BATCH_NORM_EPSILON)
        else:
            normalised = F.batch_norm(x, None, None, training=True, eps=BATCH_NORM_EPSILON)
        return normalised + self.shift.view(-1, *(1,) * (x.dim() - 2))


class NormalisedModule(nn.Module):
    """An interaction module, the normalisation of its output, and dropout.

    `rms`: bounded, `x / sqrt(mean(x^2) + 0.1)` over the features, or over each token's dimensions: RMS normalisation (Zhang and
    Sennrich, 2019) without its learnt scale, which could undo a gate. `layer`: layer normalisation (Ba et al., 2016) over the same,
    without a learnt scale and offset either. `batch`: `BatchNorm` of each feature or token, in front of the ReLU of a module that
    ends in one; `none`: as it is. Dropout comes after that ReLU. What ends in none, products above all, is neither batch-normalised
    nor dropped, as in the networks that this is taken from (docs/quality/frappe.md says what it costs to do both).
    """

    def __init__(self, layer: InteractionModule, normalisation: str, dropout: float = 0.0) -> None:
        super().__init__()
        self.layer = layer
        self.normalisation = normalisation
        rectified = isinstance(layer, RectifiedModule)
        self.norm = BatchNorm(layer.shape.out) if normalisation == "batch" and rectified else None
        self.dropout = dropout if rectified else 0.0

    def forward(self, inputs: Inputs) -> Tensor:
        output = self._normalised(inputs)
        return dropout(output, self.dropout) if self.dropout and self.training else output

    def _normalised(self, inputs: Inputs) -> Tensor:
        if self.norm is not None and isinstance(self.layer, RectifiedModule):
            return F.relu(self.norm(self.layer.linear(inputs)))
        output: Tensor = self.layer(inputs)
        if self.normalisation == "rms":
            output = F.rms_norm(output, output.shape[-1:], eps=NORM_EPSILON)
        elif self.normalisation == "layer":
            output = F.layer_norm(output, output.shape[-1:], eps=LAYER_NORM_EPSILON)
        return output

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        """As `InteractionModule.slices`, of the module's parameters and the normalisation's."""
        of_layer = {f"layer.{name}": index for name, index in self.layer.slices(part).items()}
        return of_layer if self.norm is None else of_layer | {"norm.shift": (slice(part.out),)}
