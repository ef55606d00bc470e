"""What stays in float32 when the rest of a network computes in bfloat16: the last layer, so that logits keep their digits.

A logit in bfloat16 has 8 of them, binary: rows would tie by the thousand, and a click rate would move by up to 1 %.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.amp.autocast_mode import is_autocast_available
from torch.nn import functional as F


def outside_autocast(x: Tensor) -> AbstractContextManager[object]:
    """While it lasts, operations on the device of `x` compute in the types that they are given."""
    device = x.device.type
    # The meta device, on which costs are counted, knows no autocast.
    if is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def linear_outside_autocast(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear` in the weight's own type, under autocast too."""
    with outside_autocast(x):
        return F.linear(x.to(weight.dtype), weight, bias)


class LogitLayer(nn.Linear):
    """A last layer: `torch.nn.Linear`, outside autocast; `[..., features] -> [..., out_features]`."""

    def forward(self, input: Tensor) -> Tensor:
        return linear_outside_autocast(input, self.weight, self.bias)
