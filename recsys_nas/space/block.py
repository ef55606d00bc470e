"""One choice block, decided: which modules survive in it, what each of them reads, and how wide the two streams are that it makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from recsys_nas.space.modules import Stream, module_kind

Port = Literal["dense", "sparse", "right"]
"""An input of a module: the dense stream, the tokens, or the dense stream of a second set of sources."""
PORTS: tuple[Port, ...] = ("dense", "sparse", "right")


@dataclass(frozen=True)
class ModuleChoice:
    """A module of a block, and the sources of each stream that it reads; 0 is the stem, i the i-th block."""

    name: str
    dense: tuple[int, ...] = ()
    sparse: tuple[int, ...] = ()
    right: tuple[int, ...] = ()

    def sources(self, port: Port) -> tuple[int, ...]:
        named: tuple[int, ...] = getattr(self, port)
        return named

    @property
    def makes(self) -> Stream:
        return module_kind(self.name, "module").makes


@dataclass(frozen=True)
class Block:
    """Modules with what they read. The dense ones, all `dense_width` wide, are summed, and so are the sparse ones, of `num_tokens` each.

    Two mergers work on these sums: `tokens_to_dense` adds a factorization machine of the tokens to the dense stream (`deep_fm` in
    NASRec: Zhang et al., 2023), `dense_to_tokens` appends so many tokens, projected from the sum of the dense modules, to the
    sparse stream (its `dense_sparse_interact`).
    """

    dense_width: int = 0
    num_tokens: int = 0
    modules: tuple[ModuleChoice, ...] = ()
    dense_to_tokens: int = 0
    tokens_to_dense: bool = False

    @staticmethod
    def reading(
        sources: tuple[int, ...],
        dense: tuple[str, ...] = (),
        dense_width: int = 0,
        sparse: tuple[str, ...] = (),
        num_tokens: int = 0,
    ) -> Block:
        """A block without mergers whose modules read the same sources in every stream that they read."""
        modules = tuple(
            ModuleChoice(name, **{port: sources for port in PORTS if port in module_kind(name, "module").reads}) for name in dense + sparse
        )
        return Block(dense_width, num_tokens, modules)

    @property
    def dense(self) -> tuple[str, ...]:
        """Names of the modules that make the dense stream."""
        return tuple(module.name for module in self.modules if module.makes == "dense")

    @property
    def sparse(self) -> tuple[str, ...]:
        """Names of the modules that make tokens."""
        return tuple(module.name for module in self.modules if module.makes == "sparse")

    @property
    def tokens_out(self) -> int:
        """Tokens of the sparse stream, those that the merger appends among them."""
        return self.num_tokens + self.dense_to_tokens

    @property
    def sources(self) -> tuple[int, ...]:
        """All outputs that any of its modules reads, in order."""
        return tuple(sorted({source for module in self.modules for port in PORTS for source in module.sources(port)}))

    def width_of(self, module: ModuleChoice) -> int:
        """What one of its modules makes: a number of features, or of tokens."""
        return self.dense_width if module.makes == "dense" else self.num_tokens


def check_block(block: Block, number: int) -> None:
    """Raises ValueError with the path of the first field of block `number` (counted from 1) that cannot be."""
    where = f"blocks[{number - 1}]"
    for i, module in enumerate(block.modules):
        _check_ports(module, number, f"{where}.modules[{i}]")
    names = [module.name for module in block.modules]
    if len(set(names)) != len(names):
        raise ValueError(f"{where}.modules: a module is named twice in {names}")
    for stream, name, needs in _widths(block):
        width = getattr(block, name)
        if width < 0 or bool(width) != needs:
            raise ValueError(f"{where}.{name} = {width}: must be positive exactly when the block has {stream}")
    if block.tokens_to_dense and not block.sparse:
        raise ValueError(f"{where}.tokens_to_dense = True: the block has no module that makes tokens")
    if block.dense_to_tokens < 0 or (block.dense_to_tokens and not block.dense):
        raise ValueError(f"{where}.dense_to_tokens = {block.dense_to_tokens}: must be 0, or positive where a module makes the dense stream")


def _widths(block: Block) -> Iterator[tuple[str, str, bool]]:
    yield "a module that makes the dense stream, or tokens_to_dense", "dense_width", bool(block.dense) or block.tokens_to_dense
    yield "a module that makes tokens", "num_tokens", bool(block.sparse)


def _check_ports(module: ModuleChoice, number: int, where: str) -> None:
    reads = module_kind(module.name, f"{where}.name").reads
    for port in PORTS:
        check_sources(module.sources(port), number, f"{where}.{port}")
        if module.sources(port) and port not in reads:
            raise ValueError(f"{where}.{port}: {module.name!r} reads no such stream; it reads {' and '.join(reads)}")


def check_sources(sources: tuple[int, ...], limit: int, where: str) -> None:
    """Raises ValueError naming `where` unless these are different outputs before number `limit`."""
    for source in sources:
        if not 0 <= source < limit:
            raise ValueError(f"{where}: {source} is no earlier output; 0 is the stem, {limit - 1} the last that may be read here")
    if len(set(sources)) != len(sources):
        raise ValueError(f"{where}: a source is named twice in {list(sources)}")
