"""From the name of a model to its network with fresh weights, under the rules that hold for all models of a run."""

from __future__ import annotations

import re
from dataclasses import replace

from torch import nn

from data_prep.command_line import did_you_mean
from recsys_nas.architecture_files import ARCHITECTURE, CONTROL, architecture_file
from recsys_nas.config import ConfigError
from recsys_nas.jobs.assembly import Run
from recsys_nas.model import InteractionArch
from recsys_nas.search.controls import random_controls
from recsys_nas.space import Architecture, load_architecture
from recsys_nas.training.retraining import ZooSizes
from recsys_nas.zoo.architectures import ARCHITECTURES
from recsys_nas.zoo.catalogue import FOUND, FULL_SUPERNET, REFINED, RUN_MODELS
from recsys_nas.zoo.hidden_layers import draw_xavier_normal, regularise
from recsys_nas.zoo.networks import NETWORKS


def build_network(run: Run, model: str) -> nn.Module:
    """The network of that name: the found or the refined one, the full supernet's, a random control, one of the zoo or a variant of it.

    Raises ConfigError for an unknown name or an unusable architecture.
    """
    retrain = run.config.retrain
    if model in (FOUND, REFINED, FULL_SUPERNET) or CONTROL.fullmatch(model):
        network: nn.Module = InteractionArch(architecture_of(run, model), dropout=retrain.dropout)
    else:
        network = _of_the_zoo(run, model)
        regularise(network, retrain.batch_norm, retrain.dropout)
    if retrain.initialisation == "xavier_normal":
        draw_xavier_normal(network)
    return network


def architecture_of(run: Run, model: str) -> Architecture:
    """That of the found or the refined network, the full supernet or a random control. Raises ConfigError for an unusable file."""
    if model == FULL_SUPERNET:
        return run.space().full()
    path = architecture_file(run.folder, model) or run.folder / ARCHITECTURE
    if not path.exists():
        raise ConfigError(f"{path} is missing; run `recsys-nas {'refine' if model == REFINED else 'aggregate'} {run.folder}` first")
    try:
        architecture = load_architecture(path)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    sizes = (architecture.num_dense, architecture.num_sparse, architecture.embedding_dim)
    if sizes != run.sizes:
        raise ConfigError(f"architecture.json is for (dense, sparse, embedding dim) = {sizes}, this run has {run.sizes}")
    if control := CONTROL.fullmatch(model):
        try:
            return random_controls(run.space(), architecture, int(control[1]) + 1, run.config.seed)[-1]
        except ValueError as error:
            raise ConfigError(str(error)) from error
    return architecture


def _of_the_zoo(run: Run, model: str) -> nn.Module:
    sizes = run.config.retrain.sizes.get(model, ZooSizes())
    name = sizes.model or model
    if name not in NETWORKS:
        known = tuple(dict.fromkeys((*RUN_MODELS, *run.config.retrain.sizes)))
        raise ConfigError(f"no model is named {name!r}; {did_you_mean(name, known)}")
    given = sizes.given()
    if contexts := given.get("contexts"):
        given["contexts"] = _positions(run, contexts)
    try:
        if name in ARCHITECTURES:
            return _of_the_space(run, ARCHITECTURES[name](*run.sizes, **given))
        return NETWORKS[name](*run.sizes, **given)
    except TypeError as error:
        wrong = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if wrong is None:
            raise
        raise ConfigError(f"retrain.sizes.{model}.{wrong[1]}: {name} has no such size; leave it out") from error
    except ValueError as error:
        raise ConfigError(f"retrain.models: {model!r} cannot be built of these features and sizes: {error}") from error


def _of_the_space(run: Run, architecture: Architecture) -> nn.Module:
    """A published network that the space can say, under the rules for the hidden layers of the zoo."""
    retrain = run.config.retrain
    if retrain.batch_norm and architecture.normalisation == "none":
        architecture = replace(architecture, normalisation="batch")
    return InteractionArch(architecture, dropout=retrain.dropout)


def _positions(run: Run, features: tuple[str, ...]) -> list[int]:
    names = [feature.name for feature in run.schema.categorical]
    for feature in features:
        if feature not in names:
            raise ConfigError(f"retrain.sizes: contexts names {feature!r}, which is no categorical feature; there are {', '.join(names)}")
    return [names.index(feature) for feature in features]
