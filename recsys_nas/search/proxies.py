"""Figures of a network that need no training, or almost none: from its weights, its gradients and its size.

theta are the weights of the dense half, by parameter name; g_b the gradient of the log loss on batch b. Embedding tables are the
same for every network of a space and are left out. docs/strategies/zero_cost.md has formulas, sources and differences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from recsys_nas.model import InteractionArch
from recsys_nas.search.strategy import LOSS
from recsys_nas.search.trial_settings import Proxy
from recsys_nas.supernet import skeleton

Batch = tuple[Tensor, Tensor, Tensor]
"""dense `[B, I]`, tokens `[B, F, D]`, labels `[B]`."""
Parameters = Mapping[str, Tensor]
SMALLEST, LARGEST = 1e-12, 1e300
"""What a logarithm is taken of lies between them."""


def proxies(network: InteractionArch, batches: Sequence[Batch], flops: int) -> dict[str, float]:
    """All figures but SiGeo's sum, which needs weights (`sigeo`). At least two batches, or ZiCo has no spread to divide by."""
    network.eval()
    parameters = {name: parameter for name, parameter in network.named_parameters() if parameter.numel()}
    losses, gradients = gradients_by_batch(network, parameters, batches)
    return {
        LOSS: sum(losses) / len(losses),
        "zico": zico(gradients),
        "fisher_rao": fisher_rao(parameters, gradients),
        "grad_norm": grad_norm(gradients),
        "synflow": synflow(network, parameters),
        "flops": float(flops),
        "params": float(sum(parameter.numel() for parameter in parameters.values())),
    }


def score_of(proxy: Proxy, fisher_weight: float, loss_weight: float) -> Callable[[Mapping[str, float]], float]:
    """From the figures of a network to the value of a proxy: the higher, the better the network is held to be."""
    if proxy == "sigeo":
        return lambda figures: sigeo(figures, fisher_weight, loss_weight)
    return lambda figures: -figures[LOSS] if proxy == LOSS else figures[proxy]


def sigeo(figures: Mapping[str, float], fisher_weight: float, loss_weight: float) -> float:
    """SiGeo (Zheng et al., 2023): ZiCo + fisher_weight * log Fisher-Rao - loss_weight * training loss."""
    return figures["zico"] + fisher_weight * figures["fisher_rao"] - loss_weight * figures[LOSS]


def gradients_by_batch(network: nn.Module, parameters: Parameters, batches: Sequence[Batch]) -> tuple[list[float], dict[str, Tensor]]:
    """Log loss of each batch, and the gradients of each parameter, `[batches, *size]`."""
    losses, found = [], []
    for dense, tokens, labels in batches:
        loss = F.binary_cross_entropy_with_logits(network(dense, tokens), labels)
        found.append(torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True))
        losses.append(float(loss.detach()))
    return losses, {name: torch.stack(column) for name, column in zip(parameters, zip(*found, strict=True), strict=True)}


def zico(gradients: Parameters) -> float:
    """ZiCo (Li et al., 2023): sum over weight matrices of log sum_j mean_b |g_bj| / std_b g_bj; entries without spread are left out."""
    total = 0.0
    for of_parameter in gradients.values():
        if of_parameter.dim() < 3:  # batches and one dimension: biases and shifts
            continue
        g = of_parameter.double()
        spread = g.std(0, unbiased=False)
        ratios = (g.abs().mean(0) / spread)[spread > 0]
        total += math.log(float(ratios.sum())) if len(ratios) else 0.0
    return total


def fisher_rao(parameters: Parameters, gradients: Parameters) -> float:
    """Log of the Fisher-Rao norm (Liang et al., 2019) as SiGeo takes it: 2 log sum over parameters of |theta . sum_b g_b|."""
    inner = sum(abs(float((parameters[name].detach().double() * of.double().sum(0)).sum())) for name, of in gradients.items())
    return 2 * math.log(max(inner, SMALLEST))


def grad_norm(gradients: Parameters) -> float:
    """Euclidean norm of the mean gradient (Abdelfattah et al., 2021, section 3), of all parameters together."""
    return math.sqrt(sum(float(of.double().mean(0).square().sum()) for of in gradients.values()))


def synflow(network: InteractionArch, parameters: Parameters) -> float:
    """SynFlow (Tanaka et al., 2020): log sum |theta . dR / dtheta|, R the logit for inputs of ones and the weights' absolute values.

    Of the network without normalisation, which would undo the scale that SynFlow measures.
    """
    architecture = replace(network.architecture, normalisation="none")
    plain = skeleton(architecture)
    names = {name for name, _ in plain.named_parameters()}
    positive = {name: p.detach().abs().double().requires_grad_() for name, p in parameters.items() if name in names}
    # Parameters without elements are no part of `parameters`, but of the network.
    rest = {name: p.detach().double() for name, p in network.named_parameters() if name in names and name not in positive}
    device = network.bias.device
    dense = torch.ones(1, architecture.num_dense, dtype=torch.float64, device=device)
    tokens = torch.ones(1, architecture.num_sparse, architecture.embedding_dim, dtype=torch.float64, device=device)
    output = functional_call(plain, positive | rest, (dense, tokens)).sum()
    slopes = torch.autograd.grad(output, list(positive.values()), allow_unused=True, materialize_grads=True)
    total = sum(float((weight.detach() * slope).abs().sum()) for weight, slope in zip(positive.values(), slopes, strict=True))
    return math.log(min(max(total, SMALLEST), LARGEST)) if not math.isnan(total) else math.log(LARGEST)
