"""A linear map that is left out between equal sizes, as NASRec leaves it out (Zhang et al., 2023; nasrec/supernet/modules.py)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from recsys_nas.modules.base import Index, Number, bias, weight


def parameters(out: int, features: int, shared: bool) -> tuple[nn.Parameter | None, nn.Parameter | None]:
    """Weight `[out, features]` and bias `[out]`, or none where the map is left out; a `shared` layer has them always."""
    return (None, None) if out == features and not shared else (weight(out, features), bias(out))


def project(x: Tensor, weight: Tensor | None, bias: Tensor | None, out: int) -> Tensor:
    """`[..., features] -> [..., out]`."""
    return x if x.shape[-1] == out else F.linear(x, weight, bias)  # type: ignore[arg-type]


def slices(name: str, rows: Index, columns: Index, sizes: tuple[int, int]) -> dict[str, tuple[Index, ...]]:
    """Of the weight `name` and the bias `name_bias`, for a smaller layer in which they have `sizes` (out, features)."""
    return {} if sizes[0] == sizes[1] else {name: (rows, columns), f"{name}_bias": (rows,)}


def flops(out: Number, features: Number) -> Number:
    """For each vector that is projected."""
    return 0 if out == features else 2 * out * features
