"""Writes docs/spaces.md from the catalogue of modules and the named spaces: `python docs/make_spaces.py` (`make docs` calls it)."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path

from recsys_nas.space import NAMED_SPACES
from recsys_nas.space.modules import CATALOGUE, ModuleKind

PAGE = Path(__file__).parent / "spaces.md"
MERGERS = ("tokens_to_dense", "dense_to_tokens")
HEAD = """\
# Spaces and modules

<!-- made by docs/make_spaces.py: edit recsys_nas/space/named_spaces.py and recsys_nas/space/modules.py instead -->

A network is a stem (the numeric features and the embeddings), blocks, and one logit. A block has two streams, a dense one (features
`[B, W]`) and a sparse one (tokens `[B, T, D]`); each is the sum of its modules. `space.name` picks one of the spaces below, and any
other key of `[space]` replaces what that space says, so a space of your own is a list of names:

```toml
[space]
name = "distdnas"
dense_modules = ["linear", "cross_network", "low_rank_fusion"]
sparse_modules = ["field_gate"]
dense_widths = [256]
```

[Every key of `[space]`](config.md); [how to add a module](add-a-module.md).

"""
SPACES_HEAD = """\
## Named spaces

`pick = "any"`: every module of every block may be kept or not, which is what `search.strategy = "dnas"` searches. `pick = "one"`: a
block has exactly one module a stream, and chooses what it reads; such spaces are for the [other strategies](strategies.md), and `dnas`
refuses them.

"""
MODULES_HEAD = """\
## Modules

*Reads* `right` is a second dense input. *Order* is how a module changes the order of interactions: `same`, the `sum` of the orders of
what it multiplies, or `any`.

"""


def page() -> str:
    """The whole page."""
    kinds = [kind for name, kind in CATALOGUE.items() if name not in MERGERS]
    made = {"dense": "### That make dense features (`space.dense_modules`)", "sparse": "### That make tokens (`space.sparse_modules`)"}
    parts = [HEAD + SPACES_HEAD + _spaces(), MODULES_HEAD.rstrip()]
    parts += [f"{title}\n\n{_modules(kind for kind in kinds if kind.makes == stream)}" for stream, title in made.items()]
    parts += [
        "### Mergers of the streams\n\nWith `space.merger_tokens` both may be chosen in each block.\n\n"
        + _modules(CATALOGUE[name] for name in MERGERS)
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _spaces() -> str:
    keys = [field.name for field in dataclasses.fields(next(iter(NAMED_SPACES.values())))]
    rows = [[f"`{key}`", *(_shown(getattr(rules, key)) for rules in NAMED_SPACES.values())] for key in keys]
    return _table(("", *(f"`{name}`" for name in NAMED_SPACES)), rows)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(each) for each in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _modules(kinds: Iterable[ModuleKind]) -> str:
    rows = [[f"`{kind.name}`", _told(kind), ", ".join(kind.reads), kind.order, kind.kind, kind.paper] for kind in kinds]
    return _table(("name", "what it does", "reads", "order", "kind", "paper"), rows)


def _told(kind: ModuleKind) -> str:
    """The first sentence of its class."""
    file, _, name = kind.layer.partition(":")
    told = inspect.getdoc(getattr(import_module(file, "recsys_nas.modules"), name)) or ""
    return " ".join(told.split("\n\n")[0].split()).replace("|", "\\|")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
