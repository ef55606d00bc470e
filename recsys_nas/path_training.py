"""Trains a supernet path by path at the price of the path: gradients and optimizer touch the slice, never a full-size parameter.

Through `Supernet.forward` a step makes full-size gradients that are zero outside the slice, and an optimizer then goes over
them; in a large space that costs as much as the network itself.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call

from recsys_nas.slicing import Cut, block_of, is_view, put_back
from recsys_nas.space import Architecture
from recsys_nas.supernet import Supernet, skeleton


class Path:
    """One member of a supernet for one step; its `parameters` are leaves, so that gradients stay with them.

    They are views of the supernet's weights where these are one piece, copies elsewhere: a path is stale after the next step.
    """

    def __init__(self, supernet: Supernet, architecture: Architecture) -> None:
        self._network = skeleton(architecture)
        self.cuts: dict[str, tuple[Tensor, Cut]] = {name: (full, cut) for name, full, cut in supernet.cuts(architecture)}
        self.leaves = {name: block_of(full.detach(), cut).requires_grad_() for name, (full, cut) in self.cuts.items()}

    def __call__(self, dense: Tensor, tokens: Tensor) -> Tensor:
        """`[B, num_dense]`, `[B, num_sparse, D]` -> logits `[B]`."""
        return functional_call(self._network, self.leaves, (dense, tokens))

    def parameters(self) -> list[Tensor]:
        return list(self.leaves.values())


class PathAdagrad:
    """Adagrad (Duchi et al., 2011) over the slices that steps use.

    The same as `torch.optim.Adagrad` over all full-size weights: without weight decay, one whose gradient is zero stays where it is.
    """

    def __init__(self, supernet: Supernet, learning_rate: float, epsilon: float = 1e-10) -> None:
        self.learning_rate = learning_rate
        self.epsilon = epsilon
        self.sums: dict[Tensor, Tensor] = {parameter: torch.zeros_like(parameter) for parameter in supernet.parameters()}

    @torch.no_grad()
    def step(self, path: Path) -> None:
        """Move the weights of the path by its gradients, which are then spent."""
        for name, (full, cut) in path.cuts.items():
            leaf = path.leaves[name]
            if leaf.grad is None:
                continue
            squares = block_of(self.sums[full], cut)
            squares.addcmul_(leaf.grad, leaf.grad)
            leaf.addcdiv_(leaf.grad, squares.sqrt().add_(self.epsilon), value=-self.learning_rate)
            leaf.grad = None
            if not is_view(cut):
                put_back(self.sums[full], cut, squares)
                put_back(full.detach(), cut, leaf)
