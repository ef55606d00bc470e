"""The catalogue: every entry leads to a layer that says what it does, and a wrong entry is refused."""

from __future__ import annotations

import re

import pytest

from recsys_nas.modules import LAYERS, InteractionModule
from recsys_nas.space import CATALOGUE
from recsys_nas.space import modules as catalogue


@pytest.fixture
def own_catalogue(monkeypatch: pytest.MonkeyPatch) -> dict[str, catalogue.ModuleKind]:
    """What a test registers is gone afterwards."""
    entries = dict(CATALOGUE)
    monkeypatch.setattr(catalogue, "CATALOGUE", entries)
    monkeypatch.setattr("recsys_nas.modules.CATALOGUE", entries)
    return entries


@pytest.mark.usefixtures("own_catalogue")
def test_a_registered_module_has_a_layer_at_once() -> None:
    catalogue.register("another", ".linear:Linear", "dense", ("dense",), "same", "deep", "nobody")
    assert LAYERS["another"] is LAYERS["linear"]
    assert "another" in LAYERS


@pytest.mark.usefixtures("own_catalogue")
def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match=r"module 'fm': the name is taken by \.fm:FactorizationMachine"):
        catalogue.register("fm", ".linear:Linear", "dense", ("dense",), "same", "deep", "nobody")


@pytest.mark.usefixtures("own_catalogue")
@pytest.mark.parametrize("layer", [".base:Shape", ".base:weight", "torch.nn:Linear"])
def test_only_an_interaction_module_can_be_one(layer: str) -> None:
    catalogue.register("another", layer, "dense", ("dense",), "same", "deep", "nobody")
    with pytest.raises(TypeError, match=f"{layer}: a module's layer must be an InteractionModule"):
        LAYERS["another"]


def test_an_unknown_name_is_no_layer() -> None:
    assert "zzz" not in LAYERS
    with pytest.raises(KeyError):
        LAYERS["zzz"]


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_a_layer_states_its_shapes_and_its_entry_its_paper(name: str) -> None:
    kind, layer = CATALOGUE[name], LAYERS[name]
    shapes = {"dense": "[B, W]", "sparse": "[B, T, D]"}
    assert issubclass(layer, InteractionModule)
    assert f"-> {shapes[kind.makes]}`" in (layer.__doc__ or "")
    assert re.search(r"\b(19|20)\d\d\b", kind.paper)
