"""`SpaceRules`: what may be chosen in a space, whatever the tables it is over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from recsys_nas.space.architecture import Normalisation, Stem
from recsys_nas.space.modules import check_modules, module_kind


@dataclass(frozen=True)
class SpaceRules:
    """The choices of a space, block by block. Raises ValueError for rules that contradict each other."""

    num_blocks: int
    """Blocks, one after the other."""
    dense_widths: tuple[int, ...]
    """Features that a block's dense stream may have."""
    token_counts: tuple[int, ...]
    """Tokens that a block's sparse stream may have."""
    dense_modules: tuple[str, ...]
    """Modules that may make a block's dense stream."""
    sparse_modules: tuple[str, ...]
    """Modules that may make a block's sparse stream."""
    pick: Literal["any", "one"] = "any"
    """`any` subset of the modules may survive in a block, or exactly `one` that makes the dense stream and one that makes tokens."""
    connect: Literal["all", "chain", "any"] = "all"
    """What a module reads: the stem and `all` earlier blocks; the stem and the block before (`chain`); or `any` choice of them."""
    max_sources: int = 4
    """With `connect = "any"`: earlier outputs a stream at most; a module of two dense inputs chooses one for each."""
    merger_tokens: int = 0
    """Both mergers of the streams are choices, and the one to tokens makes so many; 0: a block has no mergers."""
    head: Literal["all", "last"] = "all"
    """What the logit reads: `all` blocks or the `last`."""
    stem: Stem = "flat"
    """Its dense stream: numeric features and all embeddings side by side (`flat`), or numeric features alone (`split`)."""
    normalisation: Normalisation = "rms"
    """Of every module's output, before its gate; `batch` of those alone that end in a ReLU, in front of it."""
    linear_skip: bool = True
    """The logit reads the raw stem too, so that modules are judged on interactions alone."""

    def __post_init__(self) -> None:
        check_modules(self.dense_modules, "dense", "space.{}_modules")
        check_modules(self.sparse_modules, "sparse", "space.{}_modules")
        if not self.dense_modules + self.sparse_modules:
            raise ValueError("space: no modules are listed, so there is nothing to search")
        for name, least in (("num_blocks", 1), ("max_sources", 1), ("merger_tokens", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"space.{name} = {getattr(self, name)}: must be at least {least}")
        for name in ("dense_widths", "token_counts"):
            _check_widths(name, getattr(self, name))
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.pick == "one":
            if not (self.dense_modules and self.sparse_modules):
                raise ValueError("space.pick = 'one': needs at least one module in dense_modules and one in sparse_modules")
            return
        # With any subset a block may be silent, so nothing but the stem may be relied on.
        for name, value, plain in (("connect", self.connect, ("all", "chain")), ("merger_tokens", self.merger_tokens, (0,))):
            if value not in plain:
                raise ValueError(f"space.{name} = {value!r}: goes with pick = 'one' only")
        if self.head == "last":
            raise ValueError("space.head = 'last': goes with pick = 'one' only; the last block may keep no module")

    @property
    def two_inputs(self) -> bool:
        """Whether any module has a second dense input."""
        return any("right" in module_kind(name, "space.dense_modules").reads for name in self.dense_modules)

    @property
    def head_sources(self) -> tuple[int, ...]:
        return tuple(range(1, self.num_blocks + 1)) if self.head == "all" else (self.num_blocks,)

    def open_sources(self, number: int) -> tuple[int, ...]:
        """Outputs that block `number` (from 1) may read."""
        if self.connect == "chain":
            return tuple(sorted({0, number - 1}))
        return tuple(range(number))

    def source_sets(self, number: int) -> int:
        """How many sets of sources one stream of block `number` may read."""
        if self.connect != "any":
            return 1
        return sum(math.comb(number, count) for count in range(1, min(self.max_sources, number) + 1))

    def stream_choices(self, stream: Literal["dense", "sparse"]) -> int:
        """How many choices there are of the modules that make a stream, with their width."""
        modules, widths = (self.dense_modules, self.dense_widths) if stream == "dense" else (self.sparse_modules, self.token_counts)
        # Without modules there is no width to choose.
        return len(modules) * len(widths) if self.pick == "one" else 1 + (2 ** len(modules) - 1) * len(widths)

    def block_choices(self, number: int) -> int:
        """How many choices there are of block `number`, inputs that the chosen modules do not have among them."""
        pairs = number**2 if self.connect == "any" and self.two_inputs else 1
        mergers = 4 if self.merger_tokens else 1
        return self.stream_choices("dense") * self.stream_choices("sparse") * self.source_sets(number) ** 2 * pairs * mergers

    def size(self) -> int:
        """Number of members; the network without any module is none."""
        return math.prod(self.block_choices(number) for number in range(1, self.num_blocks + 1)) - (self.pick == "any")


def _check_widths(name: str, widths: tuple[int, ...]) -> None:
    if not widths or min(widths) < 1 or len(set(widths)) != len(widths):
        raise ValueError(f"space.{name} = {list(widths)}: must name at least one width, each above 0 and only once")
