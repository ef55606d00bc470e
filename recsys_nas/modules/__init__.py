"""The interaction modules, one family a file, under the names of `recsys_nas.space.CATALOGUE`."""

from __future__ import annotations

from recsys_nas.modules.base import Inputs, InteractionModule, Number, Part, Shape, take
from recsys_nas.modules.cross import Cross
from recsys_nas.modules.dot_product import DotProduct
from recsys_nas.modules.embedded_fc import EmbeddedFC
from recsys_nas.modules.fm import FactorizationMachine
from recsys_nas.modules.linear import Linear
from recsys_nas.modules.self_attention import SelfAttention

LAYERS: dict[str, type[InteractionModule]] = {
    "linear": Linear,
    "dot_product": DotProduct,
    "cross": Cross,
    "fm": FactorizationMachine,
    "embedded_fc": EmbeddedFC,
    "self_attention": SelfAttention,
}

__all__ = ["LAYERS", "Inputs", "InteractionModule", "Number", "Part", "Shape", "take"]
