"""What a run does to the hidden layers of all its models alike: batch normalisation, dropout, first weights."""

from __future__ import annotations

from itertools import pairwise

from torch import nn
from torchrec.modules.mlp import Perceptron

from recsys_nas.model import InteractionArch
from recsys_nas.modules import InteractionModule
from recsys_nas.modules.dropout import Dropout


def regularise(network: nn.Module, batch_norm: bool, dropout: float) -> None:
    """Make each Linear - ReLU of a published model a Linear - BatchNorm - ReLU - Dropout, in place (FuxiCTR's `MLP_Block`).

    Networks of the search space have both as rules of their own (`recsys_nas.modules.normalised`).
    """
    for module in list(network.modules()):
        if isinstance(module, nn.Sequential):
            for place, (linear, activation) in enumerate(pairwise(list(module)), start=1):
                if isinstance(linear, nn.Linear) and isinstance(activation, nn.ReLU):
                    module[place] = _activation(linear.out_features, batch_norm, dropout)
        elif isinstance(module, Perceptron):
            module._activation_fn = _activation(module._out_size, batch_norm, dropout)


def _activation(width: int, batch_norm: bool, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = [nn.BatchNorm1d(width)] if batch_norm else []
    return nn.Sequential(*layers, nn.ReLU(), *([Dropout(dropout)] if dropout else []))


def draw_xavier_normal(network: nn.Module) -> None:
    """Fill all matrices of linear layers and interaction modules from Xavier's normal distribution (Glorot and Bengio, 2010), and the
    biases of linear layers with zeros, as FuxiCTR does; elsewhere biases are zeros already."""
    for module in network.modules():
        if isinstance(module, nn.Linear | InteractionModule | InteractionArch):
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.dim() == 2 and parameter.numel():
                    nn.init.xavier_normal_(parameter)
                elif name == "bias" and isinstance(module, nn.Linear):
                    nn.init.zeros_(parameter)
