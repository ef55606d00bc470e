"""The interaction modules, one family a file, under the names of `recsys_nas.space.CATALOGUE`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module

from recsys_nas.modules.base import Index, Inputs, InteractionModule, Number, Part, Shape, take
from recsys_nas.space.modules import CATALOGUE


class Layers(Mapping[str, type[InteractionModule]]):
    """The layer of every module of the catalogue, by name; found where the catalogue says, so that a module is registered
    in one place."""

    def __getitem__(self, name: str) -> type[InteractionModule]:
        return _layer(CATALOGUE[name].layer)

    def __iter__(self) -> Iterator[str]:
        return iter(CATALOGUE)

    def __len__(self) -> int:
        return len(CATALOGUE)


@cache
def _layer(path: str) -> type[InteractionModule]:
    file, _, name = path.partition(":")
    layer = getattr(import_module(file, __name__), name)
    if not (isinstance(layer, type) and issubclass(layer, InteractionModule)):
        raise TypeError(f"{path}: a module's layer must be an InteractionModule")
    return layer


LAYERS = Layers()

__all__ = ["LAYERS", "Index", "Inputs", "InteractionModule", "Number", "Part", "Shape", "take"]
