"""Layers with given or random weights, and what to feed them, for tests of formulas."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor

from recsys_nas.modules import Inputs, InteractionModule, Shape
from tests.recsys_nas.random_networks import randomise

Layer = TypeVar("Layer", bound=InteractionModule)


def filled(layer: Layer, **values: list[Any]) -> Layer:
    """The layer in float64 with these parameters."""
    layer.double()
    for name, value in values.items():
        parameter = layer.get_parameter(name)
        with torch.no_grad():
            parameter.copy_(torch.tensor(value, dtype=torch.float64).reshape(parameter.shape))
    return layer


def randomised(layer: Layer) -> Layer:
    """The layer in float64 with random parameters."""
    randomise(layer.double())
    return layer


def random_inputs(shape: Shape, rows: int = 2) -> Inputs:
    generator = torch.Generator().manual_seed(3)
    sizes = (shape.dense,), (shape.tokens, shape.dim), (shape.right,)
    return Inputs(*(torch.randn(rows, *size, generator=generator, dtype=torch.float64) for size in sizes))


def given(dense: list[float] = [], tokens: list[list[float]] = [], right: list[float] = [], dim: int = 1) -> Inputs:  # noqa: B006
    """One example."""
    rows = torch.tensor([dense]), torch.tensor(tokens).reshape(1, len(tokens), dim), torch.tensor([right])
    return Inputs(*(x.double() for x in rows))


def sizes_of(layer: InteractionModule) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in layer.named_parameters()}


def num_parameters(layer: InteractionModule) -> int:
    return sum(parameter.numel() for parameter in layer.parameters())


def close(output: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-12)
