"""From one stream to the other: the mergers of NASRec (Zhang et al., 2023, section 3.1), which blocks have beside their modules and
which are modules too."""

from __future__ import annotations

from torch import Tensor

from recsys_nas.modules import projection
from recsys_nas.modules.base import Index, Inputs, InteractionModule, Number, Part, Shape


class DenseToTokens(InteractionModule):
    """The dense stream, projected to T * D features where it has not so many already, cut into T tokens;
    `[B, F] -> [B, T, D]`."""

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        self.output, self.output_bias = projection.parameters(shape.out * shape.dim, shape.dense, shared)

    def forward(self, inputs: Inputs) -> Tensor:
        features = projection.project(inputs.dense, self.output, self.output_bias, self.shape.out * self.shape.dim)
        return features.unflatten(1, (self.shape.out, self.shape.dim))

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        features = part.out * self.shape.dim
        return projection.slices("output", slice(features), part.dense, (features, len(part.dense)))

    @staticmethod
    def flops(shape: Shape) -> Number:
        return projection.flops(shape.out * shape.dim, shape.dense)


class TokensToDense(InteractionModule):
    """NASRec's merger from tokens to the dense stream (Zhang et al., 2023, section 3.1; nasrec/supernet/modules.py,
    `FactorizationMachine3D`): the factorization machine without its half, not projected where D = W already; `[B, N, D] -> [B, W]`."""

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        self.output, self.output_bias = projection.parameters(shape.out, shape.dim, shared)

    def forward(self, inputs: Inputs) -> Tensor:
        pooled = inputs.tokens.sum(1).square() - inputs.tokens.square().sum(1)
        return projection.project(pooled, self.output, self.output_bias, self.shape.out)

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        return projection.slices("output", slice(part.out), slice(None), (part.out, self.shape.dim))

    @staticmethod
    def flops(shape: Shape) -> Number:
        return projection.flops(shape.out, shape.dim)
