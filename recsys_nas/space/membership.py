"""Is an architecture a member of a space? If not, why not, in one line that names the block."""

from __future__ import annotations

from recsys_nas.space.architecture import STREAM_OF, Architecture
from recsys_nas.space.block import PORTS, Block, ModuleChoice, Port
from recsys_nas.space.modules import module_kind
from recsys_nas.space.rules import SpaceRules


def check_member(architecture: Architecture, rules: SpaceRules) -> None:
    """Raises ValueError naming the first field in which the architecture goes beyond the rules.

    Sources that carry nothing may be named or not; blocks count as they stand, so that one that was made canonical may have too few.
    """
    for name in ("stem", "normalisation", "linear_skip"):
        if getattr(architecture, name) != getattr(rules, name):
            raise ValueError(f"{name} = {getattr(architecture, name)!r}: the space has {getattr(rules, name)!r}")
    if len(architecture.blocks) != rules.num_blocks:
        raise ValueError(f"blocks: {len(architecture.blocks)} of them, the space has {rules.num_blocks}")
    for number, block in enumerate(architecture.blocks, start=1):
        _check_modules(block, rules, f"blocks[{number - 1}]")
        _check_mergers(block, rules, f"blocks[{number - 1}]")
        for i, module in enumerate(block.modules):
            _check_sources(architecture, module, rules, number, f"blocks[{number - 1}].modules[{i}]")
        read = {module.sparse for module in block.modules if "sparse" in module_kind(module.name, "module").reads}
        if rules.connect == "any" and len({frozenset(sources) for sources in read}) > 1:
            raise ValueError(f"blocks[{number - 1}].modules: the space has one set of sparse sources a block, these read {sorted(read)}")
    speaking = [{s for s in head if _speaks(architecture, s)} for head in (architecture.head, rules.head_sources)]
    if speaking[0] != speaking[1]:
        raise ValueError(f"head: reads {list(architecture.head)}, in the space it reads {list(rules.head_sources)}")


def _speaks(architecture: Architecture, source: int) -> bool:
    return bool(architecture.width(source, "dense") or architecture.width(source, "sparse"))


def _check_modules(block: Block, rules: SpaceRules, where: str) -> None:
    streams = (
        ("dense", block.dense, rules.dense_modules, "dense_width", rules.dense_widths),
        ("sparse", block.sparse, rules.sparse_modules, "num_tokens", rules.token_counts),
    )
    for stream, names, known, width_name, widths in streams:
        for name in names:
            if name not in known:
                raise ValueError(f"{where}: the space has no module {name!r} for the {stream} stream; it has {', '.join(known) or 'none'}")
        if rules.pick == "one" and len(names) != 1:
            raise ValueError(f"{where}: {len(names)} modules make the {stream} stream; the space picks one a block")
        width = getattr(block, width_name)
        if width and width not in widths:
            raise ValueError(f"{where}.{width_name} = {width}: not in the space; it has {', '.join(map(str, widths))}")


def _check_mergers(block: Block, rules: SpaceRules, where: str) -> None:
    if block.tokens_to_dense and not rules.merger_tokens:
        raise ValueError(f"{where}.tokens_to_dense = True: the space has no mergers")
    if block.dense_to_tokens not in (0, rules.merger_tokens):
        raise ValueError(f"{where}.dense_to_tokens = {block.dense_to_tokens}: in the space it is 0 or {rules.merger_tokens}")


def _check_sources(architecture: Architecture, module: ModuleChoice, rules: SpaceRules, number: int, where: str) -> None:
    reads = module_kind(module.name, where).reads

    def audible(sources: tuple[int, ...], port: Port) -> set[int]:
        return {source for source in sources if architecture.width(source, STREAM_OF[port])}

    for port in PORTS:
        if port not in reads:
            continue
        named = module.sources(port)
        if rules.connect != "any":
            expected = rules.open_sources(number)
            if audible(named, port) != audible(expected, port):
                raise ValueError(f"{where}.{port}: reads {list(named)}, in the space it reads {list(expected)}")
            continue
        most = 1 if "right" in reads and port != "sparse" else rules.max_sources
        if not 1 <= len(named) <= most:
            raise ValueError(f"{where}.{port}: reads {len(named)} sources, in the space it reads 1{f' to {most}' if most > 1 else ''}")
