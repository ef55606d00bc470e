"""Tokens let through by gates that the dense stream opens (FinalMLP: Mao et al., 2023, "Stream-Specific Feature Selection", but with one
gate a field, as in the regulation module of EDCN: Chen et al., 2021)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from recsys_nas.modules import projection
from recsys_nas.modules.base import Index, Inputs, InteractionModule, Number, Part, Shape, bias, weight


class FieldGate(InteractionModule):
    """Token n times `2 sigmoid(x g_n + b_n)`, then mixed to T tokens where N is not T already; `[B, F], [B, N, D] -> [B, T, D]`.

    Each gate is 1 where it knows nothing. With no dense stream to read, gates are learnt constants.
    """

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        self.gate, self.gate_bias = weight(shape.tokens, shape.dense), bias(shape.tokens)
        self.mix, self.mix_bias = projection.parameters(shape.out, shape.tokens, shared)

    def forward(self, inputs: Inputs) -> Tensor:
        gates = 2 * F.linear(inputs.dense, self.gate, self.gate_bias).sigmoid()
        gated = inputs.tokens * gates.unsqueeze(2)
        return projection.project(gated.transpose(1, 2), self.mix, self.mix_bias, self.shape.out).transpose(1, 2)

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        mixing = projection.slices("mix", slice(part.out), part.tokens, (part.out, len(part.tokens)))
        return {"gate": (part.tokens, part.dense), "gate_bias": (part.tokens,)} | mixing

    @staticmethod
    def flops(shape: Shape) -> Number:
        return 2 * shape.dense * shape.tokens + shape.dim * projection.flops(shape.out, shape.tokens)
