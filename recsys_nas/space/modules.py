"""The catalogue of interaction modules as data: what each makes, reads, and by how much it raises the interaction order.

The layers themselves are in `recsys_nas.modules`, under the same names; a test holds the two together.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

Stream = Literal["dense", "sparse"]


@dataclass(frozen=True)
class ModuleKind:
    """One kind of interaction module.

    `makes`: the stream its output joins. `reads`: the streams it takes. `order`: how it changes the order of
    interactions (`same`, `sum` of two inputs' orders, `any`). `paper`: where it comes from.
    """

    name: str
    makes: Stream
    reads: tuple[Stream, ...]
    order: Literal["same", "sum", "any"]
    kind: Literal["deep", "product", "mixing", "attention"]
    paper: str


CATALOGUE: dict[str, ModuleKind] = {
    module.name: module
    for module in (
        ModuleKind("linear", "dense", ("dense",), "same", "deep", "Cheng et al., Wide & Deep Learning, 2016"),
        ModuleKind("dot_product", "dense", ("dense", "sparse"), "sum", "product", "Naumov et al., DLRM, 2019, section 2.1.2"),
        ModuleKind("cross", "dense", ("dense",), "sum", "product", "Wang et al., DCN V2, 2021, equation 1"),
        ModuleKind("fm", "dense", ("sparse",), "sum", "product", "Rendle, Factorization Machines, 2010, lemma 3.1"),
        ModuleKind("embedded_fc", "sparse", ("sparse",), "same", "mixing", "Zhang et al., NASRec, 2023, section 3.1"),
        ModuleKind("self_attention", "sparse", ("sparse",), "any", "attention", "Song et al., AutoInt, 2019, section 4.4"),
    )
}


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
