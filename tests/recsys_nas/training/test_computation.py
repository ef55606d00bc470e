"""Options of how the dense half computes: what they change, and what they leave alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from recsys_nas.config import ConfigError, from_mapping
from recsys_nas.search_config import SearchConfig
from recsys_nas.training.computation import Computation, Computed
from recsys_nas.training.retraining import RetrainConfig
from recsys_nas.training.settings import Precision


class Products(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 5, generator=torch.Generator().manual_seed(0)))
        self.types: list[torch.dtype] = []

    def forward(self, dense: Tensor, tokens: Tensor, scale: float = 1.0) -> Tensor:
        hidden = dense @ self.weight
        self.types.append(hidden.dtype)
        return (hidden.float() * scale).sum(1)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_precision_is_that_of_the_matrix_products(precision: str, dtype: torch.dtype) -> None:
    network = Products()
    computed = Computed(network, Computation(precision))  # type: ignore[arg-type]
    logits = computed(torch.randn(2, 3), torch.empty(0), 2.0)
    logits.sum().backward()
    assert network.types == [dtype]
    assert logits.dtype is torch.float32
    assert network.weight.grad is not None
    assert network.weight.grad.dtype is torch.float32


def test_names_of_parameters_stay_those_of_the_network() -> None:
    assert list(Computed(Products(), Computation(compile=True)).state_dict()) == []


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_gradients() -> None:
    network, dense = Products(), torch.randn(4, 3)
    gradients = []
    for compiled in (False, True):
        network.zero_grad()
        Computed(network, Computation(compile=compiled))(dense, torch.empty(0)).square().sum().backward()
        assert network.weight.grad is not None
        gradients.append(network.weight.grad.clone())
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_machine_without_a_compiler_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert Computation.of(RetrainConfig(precision="bfloat16")) == Computation("bfloat16")
    with pytest.raises(ConfigError, match=r"search\.compile = true: .* no-such-compiler .*CXX"):
        Computation.of(SearchConfig(compile=True))


def test_only_a_search_of_one_network_is_compiled() -> None:
    assert SearchConfig(compile=True).compile
    with pytest.raises(ValueError, match=r"search\.compile = true: search\.strategy = 'random' trains another network in every"):
        SearchConfig(compile=True, strategy="random")


@pytest.mark.parametrize("value", ["bf16", "float16"])
def test_other_types_are_refused_by_name(value: str) -> None:
    with pytest.raises(ConfigError, match=rf"search\.precision.*{value}.*float32.*bfloat16"):
        from_mapping({"name": "x", "search": {"precision": value}}, "x.toml")


@pytest.mark.parametrize(
    ("has_instructions", "precision", "told"), [(False, "bfloat16", True), (True, "bfloat16", False), (False, "float32", False)]
)
def test_a_cpu_that_has_to_emulate_bfloat16_is_told(
    has_instructions: bool, precision: Precision, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: has_instructions)
    assert ("thirty times slower" in Computation(precision).slow_on(torch.device("cpu"))) == told
    assert not Computation(precision).slow_on(torch.device("cuda"))
