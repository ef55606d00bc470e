"""The catalogue of interaction modules as data: what each makes, reads, and by how much it raises the interaction order.

The layers themselves are in `recsys_nas.modules`, which finds them by what stands here; docs/add-a-module.md adds one.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

Stream = Literal["dense", "sparse"]
Port = Literal["dense", "sparse", "right"]
Order = Literal["same", "sum", "any"]
Mechanism = Literal["deep", "product", "mixing", "attention", "gating"]


@dataclass(frozen=True)
class ModuleKind:
    """One kind of interaction module.

    `layer`: where its class is, as `file:Class`; a leading dot stands for `recsys_nas.modules`. `makes`: the stream its output
    joins. `reads`: what it takes, `right` being a second dense input. `order`: how it changes the order of interactions
    (`same`; `sum` of the orders of what it multiplies; `any`). `paper`: where it comes from.
    """

    name: str
    layer: str
    makes: Stream
    reads: tuple[Port, ...]
    order: Order
    kind: Mechanism
    paper: str


CATALOGUE: dict[str, ModuleKind] = {}
"""Every module by its name."""


def register(name: str, layer: str, makes: Stream, reads: tuple[Port, ...], order: Order, kind: Mechanism, paper: str) -> None:
    """Add a module to the catalogue; see `ModuleKind`. Raises ValueError for a name that is taken."""
    if name in CATALOGUE:
        raise ValueError(f"module {name!r}: the name is taken by {CATALOGUE[name].layer}")
    CATALOGUE[name] = ModuleKind(name, layer, makes, reads, order, kind, paper)


DENSE: tuple[Port, ...] = ("dense",)
SPARSE: tuple[Port, ...] = ("sparse",)
BOTH: tuple[Port, ...] = ("dense", "sparse")
PAIR: tuple[Port, ...] = ("dense", "right")
NASREC = "Zhang et al., NASRec, 2023, section 3.1"

register("linear", ".linear:Linear", "dense", DENSE, "same", "deep", "Cheng et al., Wide & Deep Learning, 2016")
register("dot_product", ".dot_product:DotProduct", "dense", BOTH, "sum", "product", "Naumov et al., DLRM, 2019, section 2.1.2")
register("cross", ".cross:Cross", "dense", DENSE, "sum", "product", "Wang et al., DCN V2, 2021, equation 1")
register("fm", ".fm:FactorizationMachine", "dense", SPARSE, "sum", "product", "Rendle, Factorization Machines, 2010, lemma 3.1")
register("embedded_fc", ".embedded_fc:EmbeddedFC", "sparse", SPARSE, "same", "mixing", NASREC)
register("self_attention", ".attention:SelfAttention", "sparse", SPARSE, "any", "attention", "Song et al., AutoInt, 2019, section 4.4")
register("mixed_dot_product", ".dot_product:MixedDotProduct", "dense", BOTH, "sum", "product", NASREC)
register("cross_network", ".cross:CrossNetwork", "dense", DENSE, "sum", "product", "Wang et al., DCN V2, 2021, section 3.2")
register("low_rank_cross", ".cross:LowRankCross", "dense", DENSE, "sum", "product", "Wang et al., DCN V2, 2021, equation 2")
register("cin", ".cin:CompressedInteraction", "dense", SPARSE, "sum", "product", "Lian et al., xDeepFM, 2018, equation 6")
register("attention_pooling", ".attention:PMA", "dense", SPARSE, "any", "attention", "Lee et al., Set Transformer, 2019, section 3.2")
register("tokens_to_dense", ".mergers:TokensToDense", "dense", SPARSE, "sum", "product", NASREC)
register("transformer", ".attention:Transformer", "sparse", SPARSE, "any", "attention", NASREC)
register("dense_to_tokens", ".mergers:DenseToTokens", "sparse", DENSE, "same", "mixing", NASREC)
register("lcb", ".wukong:LinearCompression", "sparse", SPARSE, "same", "mixing", "Zhang et al., WuKong, 2024, section 3.5")
register("fmb", ".wukong:FactorizationMachineBlock", "sparse", SPARSE, "sum", "product", "Zhang et al., WuKong, 2024, section 3.4")
register("sigmoid_gating", ".dense_pair:SigmoidGating", "dense", PAIR, "sum", "gating", NASREC)
register("sum", ".dense_pair:Sum", "dense", PAIR, "same", "mixing", NASREC)
register(
    "bilinear_fusion", ".bilinear_fusion:BilinearFusion", "dense", PAIR, "sum", "product", "Mao et al., FinalMLP, 2023, bilinear fusion"
)
register(
    "low_rank_fusion",
    ".bilinear_fusion:LowRankFusion",
    "dense",
    PAIR,
    "sum",
    "product",
    "Kim et al., Hadamard product for low-rank bilinear pooling, 2017",
)
register("token_linear", ".linear:TokenLinear", "dense", SPARSE, "same", "deep", "Cheng et al., Wide & Deep Learning, 2016")
register("field_gate", ".field_gate:FieldGate", "sparse", BOTH, "sum", "gating", "Mao et al., FinalMLP, 2023, feature selection")
register("mask_block", ".mask_block:MaskBlock", "dense", SPARSE, "any", "gating", "Wang et al., MaskNet, 2021, section 3.3")


def module_kind(name: str, where: str) -> ModuleKind:
    """Look a module up; raises ValueError naming `where`, the nearest name and all known ones."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    near = difflib.get_close_matches(name, CATALOGUE, n=1)
    guess = f" did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{where}: no module is named {name!r};{guess} known: {', '.join(sorted(CATALOGUE))}")


def check_modules(names: tuple[str, ...], stream: Stream, where: str) -> None:
    """Raises ValueError unless `names` are different modules that make `stream`; `where` names the list, with `{}` for a stream."""
    here = where.format(stream)
    for name in names:
        makes = module_kind(name, here).makes
        if makes != stream:
            raise ValueError(f"{here}: {name!r} makes the {makes} stream; move it to {where.format(makes)}")
    if len(set(names)) != len(names):
        raise ValueError(f"{here}: a module is named twice in {list(names)}")
