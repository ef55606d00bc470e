"""The zoo against FuxiCTR with equal weights: same logits, same numbers of parameters. Runs where a checkout of it is named.

    git clone https://github.com/reczoo/FuxiCTR; pip install pandas pyyaml h5py polars tqdm scikit-learn keras_preprocessing
    FUXICTR=FuxiCTR pytest tests/recsys_nas/zoo/test_fuxictr.py

FuxiCTR 2.3 (commit 0245987) passed. Its package on the index lacks `model_zoo`, hence the checkout.
"""

from __future__ import annotations

import importlib
import itertools
import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recsys_nas.zoo.autoint import AutoIntPlus
from recsys_nas.zoo.dcnv2 import DcnV2
from recsys_nas.zoo.dlrm import Dlrm
from recsys_nas.zoo.factorisation import DeepFm, Fm, XDeepFm
from recsys_nas.zoo.fields import Fields, FirstOrder
from recsys_nas.zoo.finalmlp import FinalMlp
from recsys_nas.zoo.mlp import Mlp
from recsys_nas.zoo.wukong import Wukong, WukongSetting
from tests.recsys_nas.random_networks import randomise

FUXICTR = os.environ.get("FUXICTR", "")
pytestmark = pytest.mark.skipif(not FUXICTR, reason="FUXICTR names no checkout of github.com/reczoo/FuxiCTR")

NUMERIC, CATEGORIES, ROWS, DIM = 3, 4, 9, 6
SIZES = (NUMERIC, CATEGORIES, DIM)
AS_FIELDS = (0, NUMERIC + CATEGORIES, DIM)
DEEP = [8, 5]


@dataclass(frozen=True)
class Case:
    """One model of both: ours, the path and settings of theirs, and which layers are to be made equal."""

    ours: Callable[[], nn.Module]
    module: str
    name: str
    settings: dict[str, Any]
    pairs: Callable[[Any, Any], list[tuple[nn.Module, nn.Module]]]


def mlp_pairs(ours: Any, theirs: Any) -> list[tuple[nn.Module, nn.Module]]:
    return list(zip(linears(ours), linears(theirs), strict=True))


def linears(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if isinstance(part, nn.Linear | nn.LayerNorm | nn.Conv1d)]


def wukong_pairs(ours: Any, theirs: Any) -> list[tuple[nn.Module, nn.Module]]:
    pairs = mlp_pairs(ours.head, theirs.fc)
    for layer, other in zip(ours.layers, theirs.wukong_stack, strict=True):
        pairs += [(layer.fm.norm, other.fmb.layer_norm), *mlp_pairs(layer.fm.deep, other.fmb.mlp)]
        pairs += [(layer.compress, other.lcb.linear), (layer.norm, other.layer_norm)]
        if isinstance(layer.residual, nn.Linear):
            pairs.append((layer.residual, other.residual_proj))
    return pairs


SETTING = WukongSetting(layers=2, linear_tokens=3, fm_tokens=2, rank=2, fm_hidden=(8, 5), head_hidden=(7, 4))
CASES = (
    Case(lambda: Mlp(*AS_FIELDS, DEEP), "DNN.DNN_torch.src.DNN", "DNN", {"hidden_units": DEEP}, lambda a, b: mlp_pairs(a, b.mlp)),
    Case(lambda: Fm(*SIZES), "FM.src.FM", "FM", {}, lambda a, b: []),
    Case(
        lambda: DeepFm(*SIZES, DEEP),
        "DeepFM.DeepFM_torch.src.DeepFM",
        "DeepFM",
        {"hidden_units": DEEP},
        lambda a, b: mlp_pairs(a.deep, b.mlp),
    ),
    Case(
        lambda: XDeepFm(*SIZES, (4, 3), DEEP),
        "xDeepFM.src.xDeepFM",
        "xDeepFM",
        {"dnn_hidden_units": DEEP, "cin_hidden_units": [4, 3]},
        lambda a, b: mlp_pairs(a.deep, b.dnn) + list(zip([*a.cin.layers, a.cin.head], [*b.cin.cin_layer.values(), b.cin.fc], strict=True)),
    ),
    Case(
        lambda: AutoIntPlus(*SIZES, (8, 8), 2, DEEP),
        "AutoInt.src.AutoInt",
        "AutoInt",
        {"dnn_hidden_units": DEEP, "attention_layers": 2, "num_heads": 2, "attention_dim": 8, "layer_norm": True, "use_wide": True},
        lambda a, b: [*mlp_pairs(a.deep, b.dnn), (a.head, b.fc), *mlp_pairs(a.attention, b.self_attention)],
    ),
    Case(
        lambda: DcnV2(*AS_FIELDS, 2, DEEP),
        "DCNv2.src.DCNv2",
        "DCNv2",
        {"model_structure": "parallel", "num_cross_layers": 2, "parallel_dnn_hidden_units": DEEP},
        lambda a, b: mlp_pairs(a.crosses, b.crossnet) + mlp_pairs(a.deep, b.parallel_dnn) + [(a.head, b.fc)],
    ),
    Case(
        lambda: FinalMlp(*SIZES, DEEP[:1], (4,), 2),
        "FinalMLP.src.FinalMLP",
        "FinalMLP",
        {"use_fs": False, "mlp1_hidden_units": DEEP[:1], "mlp2_hidden_units": [4], "num_heads": 2},
        lambda a, b: (
            mlp_pairs(a.first, b.mlp1)
            + mlp_pairs(a.second, b.mlp2)
            + [(a.fusion.left, b.fusion_module.w_x), (a.fusion.right, b.fusion_module.w_y)]
        ),
    ),
    Case(
        lambda: Wukong(*SIZES, SETTING),
        "WuKong.src.WuKong",
        "WuKong",
        {
            "num_wukong_layers": 2,
            "lcb_features": 3,
            "fmb_features": 2,
            "fmb_mlp_units": [8, 5],
            "fmp_rank_k": 2,
            "mlp_hidden_units": [7, 4],
            "mlp_batch_norm": False,
        },
        wukong_pairs,
    ),
    Case(
        lambda: Dlrm(*SIZES, DEEP, DEEP),
        "DLRM.src.DLRM",
        "DLRM",
        {"bottom_mlp_units": DEEP, "top_mlp_units": DEEP},
        lambda a, b: mlp_pairs(a.dense_arch, b.bottom_mlp) + mlp_pairs(a.over_arch, b.top_mlp),
    ),
)


@pytest.fixture
def checkout(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(Path(FUXICTR).resolve()))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in ("fuxictr", "model_zoo")]:
        del sys.modules[name]


def theirs_of(case: Case) -> Any:
    features = importlib.import_module("fuxictr.features")
    feature_map = features.FeatureMap("made_up", ".")
    specs: list[tuple[str, dict[str, Any]]] = [(f"I{i}", {"source": "", "type": "numeric"}) for i in range(NUMERIC)]
    specs += [(f"C{i}", {"source": "", "type": "categorical", "vocab_size": ROWS}) for i in range(CATEGORIES)]
    feature_map.features = OrderedDict(specs)
    feature_map.labels = ["label"]
    feature_map.num_fields = feature_map.get_num_fields()
    feature_map.default_emb_dim = DIM
    feature_map.set_column_index()
    training = {"optimizer": "adam", "loss": "binary_crossentropy", "verbose": 0, "model_root": ".", "metrics": ["AUC"]}
    return getattr(importlib.import_module(f"model_zoo.{case.module}"), case.name)(
        feature_map, embedding_dim=DIM, **case.settings, **training
    )


def copy(ours: nn.Parameter, theirs: nn.Parameter) -> None:
    theirs.data.copy_(ours.data.view(theirs.shape))


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equal_weights_give_equal_logits_and_every_parameter_is_accounted_for(case: Case) -> None:
    ours: Any = case.ours()
    theirs = theirs_of(case)
    randomise(ours)
    embedding, first_order = embeddings_of(theirs)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.mul_(0.4)  # or the probabilities would all be 0 or 1
        equal: list[Tensor] = [parameter for pair in case.pairs(ours, theirs) for parameter in make_equal(*pair)]
        equal += make_equal_special(ours, theirs)
        table = torch.randn(CATEGORIES, ROWS, DIM)
        vectors = torch.randn(NUMERIC, DIM)
        fill(embedding, table, vectors)
        for part in ours.modules():
            if isinstance(part, Fields):
                part.vectors.copy_(vectors)
                equal.append(part.vectors)
            if isinstance(part, FirstOrder):
                weights = part.weights.weight[0]
                scalars = torch.einsum("crd,cd->cr", table, weights[NUMERIC:].view(CATEGORIES, DIM)).unsqueeze(2)
                fill(first_order, scalars, weights[:NUMERIC].unsqueeze(1))
                # Their bias lies elsewhere or nowhere; ours is set to nought.
                part.weights.bias.zero_()
                equal += [part.weights.weight, part.weights.bias]
        assert {id(p) for p in ours.parameters()} == {id(p) for p in equal}, "a parameter of ours has no counterpart"
        dense = torch.rand(5, NUMERIC)
        ids = torch.randint(ROWS, (5, CATEGORIES))
        batch = {f"I{i}": dense[:, i : i + 1] for i in range(NUMERIC)} | {f"C{i}": ids[:, i] for i in range(CATEGORIES)}
        tokens = table[torch.arange(CATEGORIES), ids]
        if isinstance(ours, Mlp | DcnV2):
            dense, tokens = dense[:, :0], torch.cat([dense.unsqueeze(2) * vectors, tokens], dim=1)
        expected = theirs.eval()(batch)["y_pred"].squeeze(1)
        assert expected.std() > 0.01
        # FuxiCTR casts numeric features to float32.
        torch.testing.assert_close(torch.sigmoid(ours(dense, tokens)), expected, rtol=1e-4, atol=1e-5)


def make_equal(ours: nn.Module, theirs: nn.Module) -> list[nn.Parameter]:
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        copy(mine, other)
    return list(ours.parameters())


def make_equal_special(ours: Any, theirs: Any) -> list[Tensor]:
    """What is no layer in theirs, or lies in another order: FinalMLP's bilinear form, WuKong's mixtures, the pairs of DLRM."""
    kind = type(ours)
    if kind is FinalMlp:
        copy(ours.fusion.bilinear, theirs.fusion_module.w_xy)
        return [ours.fusion.bilinear]
    if kind is Wukong:
        for layer, other in zip(ours.layers, theirs.wukong_stack, strict=True):
            other.fmb.proj_Y.data.copy_(layer.fm.mix.weight.T)
        return [layer.fm.mix.weight for layer in ours.layers]
    if kind is Dlrm:
        top: Any = linears(theirs.top_mlp)[0]
        top.weight.copy_(top.weight[:, dlrm_columns()].clone())
    return []


def dlrm_columns() -> list[int]:
    """Where theirs, which reads pairs first and has the dense vector last, finds its columns in ours: dense, then pairs, dense first."""
    ours = {frozenset(pair): DIM + i for i, pair in enumerate(itertools.combinations(range(CATEGORIES + 1), 2))}
    nodes = [*range(1, CATEGORIES + 1), 0]
    return [ours[frozenset(pair)] for pair in itertools.combinations(nodes, 2)] + list(range(DIM))


def embeddings_of(theirs: Any) -> tuple[Any, Any]:
    """Their embeddings of width D, and those of width 1 that hold the first-order weights (None where there are none)."""
    found: list[Any] = [part.embedding_layers for part in theirs.modules() if type(part).__name__ == "FeatureEmbeddingDict"]
    by_width = {layers["C0"].weight.shape[1]: layers for layers in found}
    return by_width[DIM], by_width.get(1)


def fill(layers: Any, table: Tensor, vectors: Tensor) -> None:
    for i in range(CATEGORIES):
        layers[f"C{i}"].weight.copy_(table[i])
    for i in range(NUMERIC):
        if f"I{i}" in layers:
            layers[f"I{i}"].weight.copy_(vectors[i].unsqueeze(1))
