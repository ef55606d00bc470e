"""Names of the published models that a run can be compared with. No torch here: the controller checks names before it starts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ZooModel:
    """A published model: where it comes from, and the size that is used here, with whose choice it is."""

    name: str
    paper: str
    setting: str


MODELS: dict[str, ZooModel] = {
    model.name: model
    for model in (
        ZooModel("dlrm", "Naumov et al., DLRM, 2019", "bottom MLP 512-256-64, top MLP 512-256 (the authors' Criteo Kaggle script)"),
        ZooModel("dcnv2", "Wang et al., DCN V2, 2021", "3 full-rank crosses beside an MLP 400-400-400 (the MLP of BARS)"),
        ZooModel("mlp", "the plain deep network of Zhu et al., BARS, 2022", "MLP 400-400-400, without batch normalisation"),
    )
}

FOUND = "found"
FULL_SUPERNET = "full_supernet"
RUN_MODELS = (FOUND, FULL_SUPERNET, *MODELS)
"""Every model that a run can retrain: what the search found, the whole supernet's network, and the zoo."""
