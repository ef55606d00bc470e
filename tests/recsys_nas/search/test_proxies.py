"""Every proxy by its formula, worked out by hand; SynFlow by Euler's theorem on a network small enough to write down."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import pytest
import torch
from torch import nn

from recsys_nas.model import InteractionArch
from recsys_nas.search.proxies import Batch, fisher_rao, grad_norm, gradients_by_batch, proxies, score_of, sigeo, synflow, zico
from recsys_nas.search.zero_cost import Superproxy
from recsys_nas.space import Architecture, SearchSpace, SpaceRules
from recsys_nas.space.architecture import Normalisation
from tests.recsys_nas.search.fabricated_bench import SPACES, FabricatedBench, task

GRADIENTS = {"w": torch.tensor([[[1.0, -2.0]], [[3.0, 2.0]]]), "b": torch.tensor([[1.0], [-1.0]])}
"""Two batches of a matrix `[1, 2]` and a bias `[1]`."""


def batches(architecture: Architecture, count: int = 4, rows: int = 32) -> list[Batch]:
    draw = torch.Generator().manual_seed(0)
    made = []
    for _ in range(count):
        dense = torch.randn(rows, architecture.num_dense, generator=draw)
        tokens = torch.randn(rows, architecture.num_sparse, architecture.embedding_dim, generator=draw)
        made.append((dense, tokens, (dense[:, 0] > 0).float()))
    return made


def test_zico_is_the_log_of_summed_means_over_spreads_of_matrices() -> None:
    # |g| means 2 and 2, standard deviations of g 1 and 2; the bias is no matrix.
    assert zico(GRADIENTS) == pytest.approx(math.log(2 / 1 + 2 / 2))
    assert zico(GRADIENTS | {"shift": torch.tensor([[1.0, 2.0], [3.0, 5.0]])}) == zico(GRADIENTS), "nor is this one, though it has a spread"
    assert zico({"w": torch.ones(3, 2, 2)}) == 0.0, "no spread, no ratio"


def test_fisher_rao_is_twice_the_log_of_summed_products() -> None:
    parameters = {"w": torch.tensor([[0.5, 3.0]]), "b": torch.tensor([7.0])}
    # w . (4, 0) = 2, and b . 0 = 0.
    assert fisher_rao(parameters, GRADIENTS) == pytest.approx(2 * math.log(2.0))


def test_grad_norm_is_that_of_the_mean_gradient() -> None:
    assert grad_norm(GRADIENTS) == pytest.approx(2.0)
    assert grad_norm({"w": torch.tensor([[[3.0, 1.0]], [[3.0, 7.0]]])}) == pytest.approx(5.0)


def test_gradients_are_those_of_the_log_loss() -> None:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w, self.idle = nn.Parameter(torch.zeros(1, 2)), nn.Parameter(torch.ones(3))

        def forward(self, dense: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
            return (dense @ self.w.t()).squeeze(1)

    network = Linear()
    rows: list[Batch] = [(torch.tensor([[1.0, 2.0]]), torch.zeros(1, 1, 1), torch.tensor([label])) for label in (0.0, 1.0)]
    losses, gradients = gradients_by_batch(network, dict(network.named_parameters()), rows)
    assert losses == pytest.approx([math.log(2)] * 2)
    assert gradients["w"].tolist() == [[[0.5, 1.0]], [[-0.5, -1.0]]], "(p - y) x at p = 1/2"
    assert not gradients["idle"].any()


@pytest.mark.parametrize("normalisation", ["rms", "batch", "none"])
def test_synflow_of_one_linear_layer(normalisation: Normalisation) -> None:
    space = SearchSpace(2, 3, 4, SpaceRules(1, (5,), (2,), ("linear",), ()))
    architecture = replace(space.full(), normalisation=normalisation)
    network = InteractionArch(architecture)
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    found = dict(network.named_parameters())
    absolute = {name: value.detach().abs().double() for name, value in found.items()}
    (matrix,) = [value for value in absolute.values() if value.shape == (5, 14)]
    (constant_of_layer,) = [value for name, value in absolute.items() if name.startswith("blocks.") and name.endswith("layer.bias")]
    head = absolute["head"].flatten()
    through, constant = float(head @ matrix.sum(1)), float(head @ constant_of_layer.flatten())
    # theta . dR/dtheta for inputs of ones: matrix and bias below the head each their part of R, the head both, skip and bias their own.
    expected = 2 * through + 2 * constant + float(absolute["skip"].sum()) + float(absolute["bias"].sum())
    parameters = {name: value for name, value in found.items() if value.numel()}
    assert synflow(network, parameters) == pytest.approx(math.log(expected))


@pytest.mark.parametrize("name", sorted(SPACES))
def test_all_proxies_are_finite_and_tell_networks_apart(name: str) -> None:
    space, generator = SPACES[name], Random(0)
    torch.manual_seed(0)
    figures = []
    for _ in range(8):
        architecture = space.sample(generator)
        network = InteractionArch(architecture)
        figures.append(proxies(network, batches(architecture), flops=7))
        assert all(parameter.grad is None for parameter in network.parameters())
    assert all(math.isfinite(value) for each in figures for value in each.values())
    for proxy in ("zico", "fisher_rao", "grad_norm", "synflow", "loss", "params"):
        assert len({each[proxy] for each in figures}) > 4, proxy
    assert {each["flops"] for each in figures} == {7.0}


def test_scores_are_higher_for_what_is_held_to_be_better() -> None:
    figures = {"zico": 3.0, "fisher_rao": -1.0, "loss": 0.5, "flops": 10.0}
    assert sigeo(figures, fisher_weight=50.0, loss_weight=1.0) == pytest.approx(3.0 - 50.0 - 0.5)
    assert score_of("sigeo", 1.0, 0.0)(figures) == pytest.approx(2.0)
    assert score_of("loss", 1.0, 0.0)(figures) == -0.5
    assert score_of("flops", 1.0, 0.0)(figures) == 10.0


@pytest.mark.parametrize("name", sorted(SPACES))
def test_a_superproxy_finds_what_scores_well(name: str) -> None:
    bench = FabricatedBench(SPACES[name])
    superproxy = Superproxy(task(SPACES[name]), judgements=400)
    losses = []
    for _ in range(400):
        drawn = superproxy.draw()
        losses.append(bench.loss(drawn))
        superproxy.tell(drawn, -losses[-1])
    assert sum(losses[-50:]) / 50 < sum(losses[:50]) / 50 - 0.1
    assert superproxy.temperature == pytest.approx(0.5)
