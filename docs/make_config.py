"""Writes docs/config.md from the dataclasses of the config: `python docs/make_config.py` (`make docs` calls it)."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from embeddings.config import TableConstraints
from recsys_nas.config import Config, SpaceConfig
from recsys_nas.space import SpaceRules
from recsys_nas.training.retraining import ZooSizes

PAGE = Path(__file__).parent / "config.md"
HEAD = """\
# Every key of a config

<!-- made by docs/make_config.py: edit the dataclasses instead -->

A config is a TOML that names only what differs from these defaults. Any value may be changed on the command line as
`section.key=value`, in TOML's spelling, for example `'search.cost_weight=0.02'` or `'retrain.seeds=[0,1,2]'`. An unknown key, a
wrong type or values that contradict each other stop the run before it starts. A run folder keeps the whole config, every default
written out, as `config.toml`.
"""
INNER = {"embedding": ("[embedding.tables.FEATURE]", TableConstraints), "retrain": ("[retrain.sizes.NAME]", ZooSizes)}
_WORDS = {str: "text", int: "integer", float: "number", bool: "true or false"}


def page() -> str:
    """The whole page."""
    sections = [field for field in dataclasses.fields(Config) if dataclasses.is_dataclass(_type(Config, field.name))]
    top = [field for field in dataclasses.fields(Config) if field not in sections]
    parts = [HEAD, _section("Top level", Config, Config("demo"), {field.name for field in top})]
    for field in sections:
        kind = _type(Config, field.name)
        parts.append(_section(f"[{field.name}]", kind, kind()))
        if field.name in INNER:
            title, inner = INNER[field.name]
            parts.append(_section(title, inner, inner()))
    return "\n".join(parts)


def _section(title: str, kind: type, defaults: Any, names: set[str] | None = None) -> str:
    told = dict(_told(kind))
    lines = [f"## {title}", "", *_about(kind), "| key | type | default | |", "|---|---|---|---|"]
    for field in dataclasses.fields(kind):
        if names is None or field.name in names:
            required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            default = "the file's name" if required else _value(getattr(defaults, field.name))
            lines.append(f"| `{field.name}` | {_word(_type(kind, field.name))} | {default} | {told.get(field.name, '')} |")
    return "\n".join(lines) + "\n"


def _about(kind: type) -> Iterator[str]:
    """The docstring of the class, as a paragraph."""
    if kind.__doc__:
        yield from (inspect.cleandoc(kind.__doc__), "")


def _told(kind: type) -> Iterator[tuple[str, str]]:
    """The text that stands below each field in the source, of the class and those it is made from; a space's rules tell of themselves."""
    for each in (*reversed([each for each in kind.__mro__ if dataclasses.is_dataclass(each)]), *[SpaceRules][: kind is SpaceConfig]):
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        assert isinstance(tree, ast.ClassDef)
        for before, after in itertools.pairwise(tree.body):
            if isinstance(before, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                assert isinstance(before.target, ast.Name)
                yield before.target.id, " ".join(str(after.value.value).split()).replace("|", "\\|")


def _type(kind: type, name: str) -> Any:
    return typing.get_type_hints(kind)[name]


def _word(kind: Any) -> str:
    """A type in plain words."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in arguments)
    if origin is tuple:
        return f"list of {_word(arguments[0])}" if arguments[-1] is ... else f"{len(arguments)} of {_word(arguments[0])}"
    if origin in (dict, Mapping):
        return f"table of {_word(arguments[1])}"
    if origin in (typing.Union, types.UnionType):
        return _word(next(argument for argument in arguments if argument is not type(None)))
    return "table" if dataclasses.is_dataclass(kind) else _WORDS.get(kind, str(kind))


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "`{}`" if not value else f"`{value}`"
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
