"""Under autocast every network computes in bfloat16 but for its last layer."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from recsys_nas.model import InteractionArch
from recsys_nas.path_training import Path
from recsys_nas.precision import linear_outside_autocast
from recsys_nas.search.dnas import GatedNetwork, Gating
from recsys_nas.space import NAMED_SPACES, SearchSpace
from recsys_nas.supernet import Supernet
from recsys_nas.zoo.networks import NETWORKS

SIZES = (3, 4, 16)
PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default)


class Products(TorchDispatchMode):
    """Notes the type of every matrix product, and the types of those that make one number an example."""

    def __init__(self) -> None:
        super().__init__()
        self.types: list[torch.dtype] = []
        self.last: list[torch.dtype] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in PRODUCTS:
            self.types.append(made.dtype)
            if made.shape[-1] == 1:
                self.last.append(made.dtype)
        return made


def search_network(num_dense: int, num_sparse: int, dim: int) -> Callable[[Tensor, Tensor], Tensor]:
    network = GatedNetwork(SearchSpace(num_dense, num_sparse, dim, NAMED_SPACES["distdnas"]), 0, Gating(), 0)
    return lambda dense, tokens: network(dense, tokens, 0, slice(0, len(dense)), len(dense))


def sampled_path(num_dense: int, num_sparse: int, dim: int) -> Path:
    space = SearchSpace(num_dense, num_sparse, dim, NAMED_SPACES["nasrec_small"])
    return Path(Supernet(space.full()), space.sample(Random(0)))


def every_module(num_dense: int, num_sparse: int, dim: int) -> nn.Module:
    return InteractionArch(SearchSpace(num_dense, num_sparse, dim, NAMED_SPACES["nasrec_full"]).full())


@pytest.mark.parametrize("name", [*NETWORKS, "search", "path", "nasrec_full"])
def test_all_but_the_last_layer_is_bfloat16(name: str) -> None:
    torch.manual_seed(0)
    build: dict[str, Callable[..., Any]] = {**NETWORKS, "search": search_network, "path": sampled_path, "nasrec_full": every_module}
    network = build[name](*SIZES)
    dense, tokens = torch.randn(64, SIZES[0]), torch.randn(64, *SIZES[1:])
    with torch.no_grad():
        exact = network(dense, tokens)
        with torch.autocast("cpu", torch.bfloat16), Products() as products:
            logits = network(dense, tokens)
    assert logits.dtype is torch.float32
    assert products.last, "there is no last layer"
    assert set(products.last) == {torch.float32}
    if name not in ("lr", "fm"):  # which have no other layer
        assert torch.bfloat16 in products.types
        assert not torch.equal(logits, exact)
    assert float((logits - exact).abs().max() / exact.std()) < 0.1
    assert (logits != logits.bfloat16()).float().mean() > 0.9, "logits were rounded to bfloat16"


def test_without_autocast_a_layer_keeps_its_type() -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        assert linear_outside_autocast(torch.ones(2, 3, dtype=dtype), torch.ones(1, 3, dtype=dtype)).dtype is dtype
    assert linear_outside_autocast(torch.ones(2, 3, device="meta"), torch.ones(1, 3, device="meta")).shape == (2, 1)
