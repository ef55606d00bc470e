"""An architecture as a few lines of text for the terminal, and as plain values for machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from data_prep.wording import counted
from recsys_nas.cost import dense_flops, module_costs
from recsys_nas.report.mermaid import makes, stem
from recsys_nas.space import CATALOGUE, PORTS, Architecture, Block, ModuleChoice, Port

_READS: dict[Port, str] = {"dense": "dense", "sparse": "tokens", "right": "second dense"}


def architecture_text(architecture: Architecture) -> str:
    """Its stem, blocks, modules with what each reads, its order and cost, and head; one thing a line. What never reaches the
    head is left out, and said to be."""
    total = dense_flops(architecture)
    live = architecture.live()
    lines = [
        f"architecture {architecture.key()}: {total:,} dense FLOPs per example, normalisation {architecture.normalisation}",
        f"stem     {stem(live)}; {live.stem}",
    ]
    costs: dict[int, list[tuple[str, int]]] = {}
    for cost in module_costs(architecture):
        costs.setdefault(cost.block, []).append((cost.module, cost.flops))
    for number in architecture.reachable_blocks():
        block = live.blocks[number - 1]
        lines.append(f"block {number}  makes {makes(block)}")
        modules = {module.name: module for module in block.modules}
        for name, flops in costs[number]:
            about = _module(modules[name]) if name in modules else _merger(block, name)
            lines.append(f"  {name:<18} {flops:>12,} FLOPs {flops / max(total, 1):>6.1%}  {about}")
    skip = ", and the raw stem by a linear skip" if live.linear_skip else ""
    lines.append(f"head     reads {sources_text(live.head)}{skip}")
    lines += [f"  {name:<18} {flops:>12,} FLOPs {flops / max(total, 1):>6.1%}" for name, flops in costs[0]]
    if dropped := _dropped(architecture, live):
        lines.append(f"left out, since it never reaches the head: {', '.join(dropped)}")
    return "\n".join(lines)


def architecture_json(architecture: Architecture) -> dict[str, Any]:
    """The same for machines: key, total FLOPs per example, FLOPs and share of each module (block 0: head and linear skip), and what the
    file holds."""
    total = dense_flops(architecture)
    costs = module_costs(architecture)
    return {
        "key": architecture.key(),
        "dense_flops": total,
        "cost_by_module": [asdict(cost) | {"share": cost.flops / max(total, 1)} for cost in costs],
        "dropped": _dropped(architecture, architecture.live()),
        "architecture": architecture.to_json(),
    }


def reads(module: ModuleChoice) -> str:
    """`dense of block 1, block 2; tokens of the stem`."""
    return "; ".join(f"{_READS[port]} of {sources_text(module.sources(port))}" for port in PORTS if module.sources(port))


def _module(module: ModuleChoice) -> str:
    return f"order {CATALOGUE[module.name].order:<4}  reads {reads(module)}"


def _merger(block: Block, name: str) -> str:
    if name == "merge_to_dense":
        return f"adds an FM of its {counted(block.num_tokens, 'token')} to its features"
    return f"appends {counted(block.dense_to_tokens, 'token')} made of the sum of its dense modules"


def sources_text(sources: tuple[int, ...]) -> str:
    """`the stem, block 2`."""
    return ", ".join("the stem" if source == 0 else f"block {source}" for source in sorted(sources)) or "nothing"


def _dropped(architecture: Architecture, live: Architecture) -> list[str]:
    dropped = []
    for number, (block, kept) in enumerate(zip(architecture.blocks, live.blocks, strict=True), start=1):
        names = {module.name for module in kept.modules}
        dropped += [f"block {number} {module.name}" for module in block.modules if module.name not in names]
        dropped += [f"block {number} tokens_to_dense"] * (block.tokens_to_dense and not kept.tokens_to_dense)
        dropped += [f"block {number} dense_to_tokens"] * (block.dense_to_tokens > 0 and not kept.dense_to_tokens)
    return dropped
