"""The `Architecture`: a discrete interaction network as plain, validated, hand-editable data.

It is the only bridge from search to retraining, evaluation and serving. Two streams run through it: dense `[B, F]` and
sparse `[B, N, D]` (B batch, F features, N tokens, D embedding dim). Source 0 is the stem, source i the i-th block; each
module of a block reads the sources it names, dense ones joined on features and sparse ones on tokens. The head reads
both streams of the sources in `head` and, with `linear_skip`, the raw stem beside them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from recsys_nas.space.block import PORTS, Block, ModuleChoice, Port, check_block, check_sources
from recsys_nas.space.modules import Stream
from recsys_nas.space.stored import mapping, parse_fields
from recsys_nas.space.version_1 import from_version_1

VERSION = 2
STREAM_OF: dict[Port, Stream] = {"dense": "dense", "sparse": "sparse", "right": "dense"}
Stem = Literal["flat", "split"]
Normalisation = Literal["rms", "layer", "batch", "none"]


@dataclass(frozen=True)
class Architecture:
    """A network for tables of `num_sparse` features of width `embedding_dim` and `num_dense` numeric features.

    `stem`: with `flat`, the stem's dense stream holds the numeric features and all embeddings side by side
    `[B, num_dense + num_sparse * embedding_dim]`; with `split`, the numeric features alone. `normalisation` of every
    module's output before the sum (`recsys_nas.model`). Raises ValueError, naming the path of the field, when it is no network.
    """

    num_dense: int
    num_sparse: int
    embedding_dim: int
    blocks: tuple[Block, ...]
    head: tuple[int, ...]
    stem: Stem = "flat"
    normalisation: Normalisation = "rms"
    linear_skip: bool = True

    def __post_init__(self) -> None:
        for name, least in (("num_dense", 0), ("num_sparse", 1), ("embedding_dim", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)}: must be at least {least}")
        for name, known in (("stem", get_args(Stem)), ("normalisation", get_args(Normalisation))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} = {getattr(self, name)!r}: must be one of {', '.join(map(repr, known))}")
        for number, block in enumerate(self.blocks, start=1):
            check_block(block, number)
            self._check_inputs(block, number)
        check_sources(self.head, len(self.blocks) + 1, "head")
        if not self.linear_skip and not any(self.width(source, stream) for source in self.head for stream in get_args(Stream)):
            raise ValueError("head: reads nothing, and there is no linear skip; the network would be empty")

    def _check_inputs(self, block: Block, number: int) -> None:
        """A module whose sources are silent would be a constant."""
        for i, module in enumerate(block.modules):
            if not any(self.joined_width(module, port) for port in PORTS):
                named = {port: list(module.sources(port)) for port in PORTS if module.sources(port)}
                raise ValueError(
                    f"blocks[{number - 1}].modules[{i}]: {module.name!r} hears nothing; its sources {named} make no such stream"
                )

    def width(self, source: int, stream: Stream) -> int:
        """Features of the dense stream that `source` makes, or tokens of its sparse one."""
        if source:
            block = self.blocks[source - 1]
            return block.dense_width if stream == "dense" else block.tokens_out
        if stream == "sparse":
            return self.num_sparse
        return self.num_raw_features if self.stem == "flat" else self.num_dense

    def joined_width(self, module: ModuleChoice, port: Port) -> int:
        """Features or tokens that a module is given at one of its inputs."""
        return sum(self.width(source, STREAM_OF[port]) for source in module.sources(port))

    @property
    def num_raw_features(self) -> int:
        """Features of the raw stem, which the linear skip reads: the numeric ones and all embeddings."""
        return self.num_dense + self.num_sparse * self.embedding_dim

    def live(self) -> Architecture:
        """The same blocks, by the same numbers, without what never reaches the head: streams that nobody reads, their modules,
        mergers and widths, and sources that carry nothing."""
        return _live(self)

    def reachable_blocks(self) -> tuple[int, ...]:
        """Numbers of the blocks that make something that reaches the head."""
        return tuple(number for number, block in enumerate(self.live().blocks, start=1) if block != Block())

    def canonical(self) -> Architecture:
        """The live network, its blocks renumbered, its sets in a fixed order, and settings without effect at their defaults."""
        live, numbers = self.live(), {0: 0} | {old: new for new, old in enumerate(self.reachable_blocks(), start=1)}

        def renumber(sources: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(sorted(numbers[source] for source in sources))

        def ordered(block: Block) -> Block:
            modules = (ModuleChoice(m.name, *(renumber(m.sources(port)) for port in PORTS)) for m in block.modules)
            return dataclasses.replace(block, modules=tuple(sorted(modules, key=lambda module: module.name)))

        blocks = tuple(ordered(live.blocks[number - 1]) for number in self.reachable_blocks())
        hears_stem = 0 in live.head or any(0 in m.sources(port) for b in blocks for m in b.modules for port in PORTS if port != "sparse")
        return dataclasses.replace(
            self,
            blocks=blocks,
            head=renumber(live.head),
            stem=self.stem if hears_stem else "flat",
            normalisation=self.normalisation if blocks else "rms",
        )

    def key(self) -> str:
        """A hash that equal networks share, the same in every process."""
        text = json.dumps(self.canonical().to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Plain values, as stored."""
        order = ("num_dense", "num_sparse", "embedding_dim", "stem", "normalisation", "linear_skip")
        blocks = [_block_json(block) for block in self.blocks]
        return {"version": VERSION} | {name: getattr(self, name) for name in order} | {"head": list(self.head), "blocks": blocks}

    @staticmethod
    def from_json(value: Any) -> Architecture:
        """Read stored values back, of this version or the first; raises ValueError naming the path of the first offending field."""
        fields = dict(mapping(value, "architecture"))
        if "version" not in fields:
            raise ValueError("version: missing, so this is no architecture; `recsys-nas aggregate` writes one")
        version = fields.pop("version")
        if version not in (1, VERSION) or isinstance(version, bool):
            raise ValueError(f"version = {version!r}: this release reads versions 1 and {VERSION}")
        if not isinstance(fields.get("blocks"), list):
            raise ValueError("blocks: must be a list")
        if version == 1:
            fields, blocks = from_version_1(fields)
        else:
            blocks = tuple(_parse_block(block, f"blocks[{i}]") for i, block in enumerate(fields.pop("blocks")))
        parsed: Architecture = parse_fields(Architecture, fields, "", blocks=blocks)
        return parsed


def load_architecture(path: str | Path) -> Architecture:
    """Read an architecture file; raises ValueError, one line naming the file and the field, when it holds none."""
    try:
        return Architecture.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"cannot read the architecture {path}: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid JSON ({error}); `recsys-nas aggregate` writes an architecture") from error
    except RecursionError as error:
        raise ValueError(f"{path}: nested too deeply to be an architecture") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _block_json(block: Block) -> dict[str, Any]:
    modules = [{"name": m.name} | {port: list(m.sources(port)) for port in PORTS if m.sources(port)} for m in block.modules]
    plain = ("dense_width", "num_tokens", "dense_to_tokens", "tokens_to_dense")
    return {name: getattr(block, name) for name in plain} | {"modules": modules}


def _parse_block(value: Any, where: str) -> Block:
    fields = dict(mapping(value, where))
    modules = fields.pop("modules", [])
    if not isinstance(modules, list):
        raise ValueError(f"{where}.modules = {modules!r}: must be a list")
    named = ((mapping(module, f"{where}.modules[{i}]"), f"{where}.modules[{i}].") for i, module in enumerate(modules))
    choices = tuple(parse_fields(ModuleChoice, module, prefix) for module, prefix in named)
    parsed: Block = parse_fields(Block, fields, f"{where}.", modules=choices)
    return parsed


@lru_cache(maxsize=1024)
def _live(architecture: Architecture) -> Architecture:
    """Blocks backwards from the head: what of each is needed decides what it asks of earlier ones."""
    asked: dict[Stream, set[int]] = {"dense": set(architecture.head), "sparse": set(architecture.head)}

    def audible(sources: tuple[int, ...], stream: Stream) -> tuple[int, ...]:
        return tuple(source for source in sources if architecture.width(source, stream))

    blocks = []
    for number, block in reversed(list(enumerate(architecture.blocks, start=1))):
        wanted: set[Stream] = {stream for stream in get_args(Stream) if number in asked[stream]}
        # A merger needs the sum of the other stream's modules, not that whole stream.
        to_dense = block.tokens_to_dense and "dense" in wanted
        to_tokens = block.dense_to_tokens if "sparse" in wanted else 0
        needs = {"dense": "dense" in wanted or to_tokens > 0, "sparse": "sparse" in wanted or to_dense}
        modules = tuple(
            ModuleChoice(module.name, *(audible(module.sources(port), STREAM_OF[port]) for port in PORTS))
            for module in block.modules
            if needs[module.makes]
        )
        for module in modules:
            for port in PORTS:
                asked[STREAM_OF[port]].update(module.sources(port))
        makes = {module.makes for module in modules}
        dense_width = block.dense_width if "dense" in makes or to_dense else 0
        blocks.append(Block(dense_width, block.num_tokens if "sparse" in makes else 0, modules, to_tokens, to_dense))
    head = tuple(source for source in architecture.head if audible((source,), "dense") or audible((source,), "sparse"))
    return dataclasses.replace(architecture, blocks=tuple(reversed(blocks)), head=head)
