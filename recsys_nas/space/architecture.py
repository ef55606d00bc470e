"""The `Architecture`: a discrete interaction network as plain, validated, hand-editable data.

It is the only bridge from search to retraining, evaluation and serving. Two streams run through it: dense `[B, F]` and
sparse `[B, N, D]` (B batch, F features, N tokens, D embedding dim). Source 0 is the stem, source i the i-th block; a
block reads the sources it names, dense ones joined on features and sparse ones on tokens, and sums the outputs of its
modules stream by stream. The head reads the sources in `head` and, with `linear_skip`, the raw stem beside them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from recsys_nas.space.modules import check_modules, module_kind

VERSION = 1


@dataclass(frozen=True)
class Block:
    """One choice block, decided: its sources and its surviving modules, with the width of each stream it makes (0: none)."""

    sources: tuple[int, ...]
    dense: tuple[str, ...] = ()
    dense_width: int = 0
    sparse: tuple[str, ...] = ()
    num_tokens: int = 0

    @property
    def modules(self) -> tuple[str, ...]:
        return self.dense + self.sparse

    def width_of(self, module: str) -> int:
        """What one of its modules makes: a number of features, or of tokens."""
        return self.dense_width if module in self.dense else self.num_tokens


@dataclass(frozen=True)
class Architecture:
    """A network for tables of `num_sparse` features of width `embedding_dim` and `num_dense` numeric features.

    `stem`: with `flat`, the stem's dense stream holds the numeric features and all embeddings side by side
    `[B, num_dense + num_sparse * embedding_dim]`; with `split`, the numeric features alone. `normalise`: whether
    every module's output is normalised before the sum. Raises ValueError, naming the path of the field, when it is no network.
    """

    num_dense: int
    num_sparse: int
    embedding_dim: int
    blocks: tuple[Block, ...]
    head: tuple[int, ...]
    stem: Literal["flat", "split"] = "flat"
    normalise: bool = True
    linear_skip: bool = True

    def __post_init__(self) -> None:
        for name, least in (("num_dense", 0), ("num_sparse", 1), ("embedding_dim", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)}: must be at least {least}")
        if self.stem not in ("flat", "split"):
            raise ValueError(f"stem = {self.stem!r}: must be 'flat' or 'split'")
        for number, block in enumerate(self.blocks, start=1):
            _check_block(block, number)
            self._check_inputs(block, number)
        _check_sources(self.head, len(self.blocks) + 1, "head")
        if not self.linear_skip and not any(self.dense_width(s) or self.num_tokens(s) for s in self.head):
            raise ValueError("head: reads nothing, and there is no linear skip; the network would be empty")

    def _check_inputs(self, block: Block, number: int) -> None:
        """A module whose sources are silent would be a constant."""
        heard = {"dense": any(map(self.dense_width, block.sources)), "sparse": any(map(self.num_tokens, block.sources))}
        where = f"blocks[{number - 1}].sources"
        for name in block.modules:
            reads = module_kind(name, where).reads
            if not any(heard[stream] for stream in reads):
                raise ValueError(f"{where}: {list(block.sources)} make no {' or '.join(reads)} stream for {name!r} to read")

    def dense_width(self, source: int) -> int:
        """Features of the dense stream that `source` makes."""
        if source:
            return self.blocks[source - 1].dense_width
        return self.num_raw_features if self.stem == "flat" else self.num_dense

    def num_tokens(self, source: int) -> int:
        """Tokens of the sparse stream that `source` makes."""
        return self.blocks[source - 1].num_tokens if source else self.num_sparse

    @property
    def num_raw_features(self) -> int:
        """Features of the raw stem, which the linear skip reads: the numeric ones and all embeddings."""
        return self.num_dense + self.num_sparse * self.embedding_dim

    def reachable_blocks(self) -> tuple[int, ...]:
        """Numbers of the blocks that make something and lead to the head."""
        live: set[int] = set()
        waiting = list(self.head)
        while waiting:
            source = waiting.pop()
            if source and source not in live and self.blocks[source - 1].modules:
                live.add(source)
                waiting.extend(self.blocks[source - 1].sources)
        return tuple(sorted(live))

    def canonical(self) -> Architecture:
        """The same network without unreachable blocks or silent sources, its sets in a fixed order."""
        renumbered = {0: 0} | {old: new for new, old in enumerate(self.reachable_blocks(), start=1)}

        def keep(sources: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(sorted(renumbered[s] for s in sources if s in renumbered))

        blocks = tuple(
            Block(keep(b.sources), tuple(sorted(b.dense)), b.dense_width, tuple(sorted(b.sparse)), b.num_tokens)
            for b in (self.blocks[number - 1] for number in self.reachable_blocks())
        )
        return dataclasses.replace(self, blocks=blocks, head=keep(self.head))

    def key(self) -> str:
        """A hash that equal networks share, the same in every process."""
        text = json.dumps(self.canonical().to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Plain values, as stored."""
        return {"version": VERSION} | dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Any) -> Architecture:
        """Read stored values back; raises ValueError naming the path of the first offending field."""
        fields = dict(_mapping(value, "architecture"))
        version = fields.pop("version", None)
        if version != VERSION:
            raise ValueError(f"version = {version!r}: this release reads version {VERSION}")
        blocks = fields.pop("blocks", None)
        if not isinstance(blocks, list):
            raise ValueError("blocks: must be a list")
        parsed = tuple(_parse_fields(Block, _mapping(b, f"blocks[{i}]"), f"blocks[{i}].") for i, b in enumerate(blocks))
        return cast(Architecture, _parse_fields(Architecture, fields, "", blocks=parsed))


def load_architecture(path: str | Path) -> Architecture:
    """Read an architecture file; raises ValueError, one line naming the file and the field, when it holds none."""
    try:
        return Architecture.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"cannot read the architecture {path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _check_block(block: Block, number: int) -> None:
    where = f"blocks[{number - 1}]"
    _check_sources(block.sources, number, f"{where}.sources")
    check_modules(block.dense, "dense", f"{where}.{{}}")
    check_modules(block.sparse, "sparse", f"{where}.{{}}")
    for stream, names, width_name in (("dense", block.dense, "dense_width"), ("sparse", block.sparse, "num_tokens")):
        width = getattr(block, width_name)
        if width < 0 or bool(names) != bool(width):
            raise ValueError(f"{where}.{width_name} = {width}: must be positive exactly when {where}.{stream} names a module")


def _check_sources(sources: tuple[int, ...], limit: int, where: str) -> None:
    for source in sources:
        if not 0 <= source < limit:
            raise ValueError(f"{where}: {source} is no earlier output; 0 is the stem, {limit - 1} the last that may be read here")
    if len(set(sources)) != len(sources):
        raise ValueError(f"{where}: a source is named twice in {list(sources)}")


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: must be an object, not {type(value).__name__}")
    return value


def _parse_fields(target: type, values: dict[str, Any], prefix: str, **given: Any) -> Any:
    """Build a frozen dataclass of ints, bools, strings and tuples of them, strictly."""
    fields = {f.name: f for f in dataclasses.fields(target) if f.name not in given}
    for name in values:
        if name not in fields:
            raise ValueError(f"{prefix}{name}: no such field; known: {', '.join(fields)}")
    parsed = dict(given)
    for name, field in fields.items():
        if name in values:
            parsed[name] = _parse_value(values[name], str(field.type), f"{prefix}{name}")
        elif field.default is dataclasses.MISSING:
            raise ValueError(f"{prefix}{name}: missing")
    return target(**parsed)


def _parse_value(value: Any, annotation: str, where: str) -> Any:
    if annotation.startswith("tuple["):
        if not isinstance(value, list):
            raise ValueError(f"{where} = {value!r}: must be a list")
        element = annotation.removeprefix("tuple[").split(",")[0]
        return tuple(_parse_value(item, element, f"{where}[{i}]") for i, item in enumerate(value))
    expected = {"int": int, "bool": bool}.get(annotation, str)
    if type(value) is not expected:
        raise ValueError(f"{where} = {value!r}: must be of type {expected.__name__}")
    return value
