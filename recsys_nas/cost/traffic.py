"""How many elements the operations of a forward pass read and write, counted on the meta device: exact, and without arithmetic.

Counted are activations, what grows with the batch. Each operation reads its inputs and writes its outputs once, as PyTorch runs
them one by one; views are free, and so is what a compiler would fuse away, which this count knows nothing of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Network = Callable[[Tensor, Tensor], Tensor]
ELSEWHERE = ""
_FREE = {torch.ops.aten._unsafe_view.default, torch.ops.aten.empty.memory_format}


def activation_elements(network: nn.Module, sizes: tuple[int, int, int], parts: Mapping[str, nn.Module]) -> dict[str, int]:
    """Elements read and written per example, by part, those outside all of them under `ELSEWHERE`.

    `network` maps dense features `[B, sizes[0]]` and embeddings `[B, sizes[1], sizes[2]]` to logits; `parts` are modules in
    it that do not overlap.
    """
    # What does not grow with the batch (weights, positions) falls out of the difference of two batch sizes.
    twin = deepcopy(network).to("meta").eval()
    names = {id(module): name for name, module in network.named_modules()}
    twins = {name: twin.get_submodule(names[id(module)]) for name, module in parts.items()}
    smaller, larger = (_count(twin, sizes, twins, rows) for rows in (2, 3))
    return {name: larger[name] - smaller[name] for name in larger}


def _count(network: nn.Module, sizes: tuple[int, int, int], parts: Mapping[str, nn.Module], rows: int) -> dict[str, int]:
    num_dense, num_sparse, dim = sizes
    counter = _TrafficCounter(parts)
    with torch.no_grad(), counter.attributing(parts), counter:
        network(torch.empty(rows, num_dense, device="meta"), torch.empty(rows, num_sparse, dim, device="meta"))
    return counter.elements


class _TrafficCounter(TorchDispatchMode):
    """Adds up the elements of the operations that run, under the part that runs them."""

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.elements = dict.fromkeys((*parts, ELSEWHERE), 0)
        self._part = ELSEWHERE

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func not in _FREE and not _is_view(func):
            self.elements[self._part] += sum(_distinct(leaf) for leaf in tree_leaves((args, kwargs, made)))
        return made

    @contextmanager
    def attributing(self, parts: Mapping[str, nn.Module]) -> Iterator[None]:
        """While it lasts, what runs inside a part is counted under its name."""

        def enter(name: str) -> Callable[..., None]:
            return lambda *_: setattr(self, "_part", name)

        with ExitStack() as stack:
            for name, module in parts.items():
                for handle in (module.register_forward_pre_hook(enter(name)), module.register_forward_hook(enter(ELSEWHERE))):
                    stack.callback(handle.remove)
            yield


def _is_view(func: Any) -> bool:
    return any(result.alias_info is not None and not result.alias_info.is_write for result in func._schema.returns)


def _distinct(leaf: Any) -> int:
    """Elements of a floating-point tensor that lie in memory once: a dimension expanded from one element counts once."""
    if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
        return 0
    return math.prod(size for size, stride in zip(leaf.shape, leaf.stride(), strict=True) if stride or size == 0)
