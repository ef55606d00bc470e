"""An architecture as a few lines of text for the terminal."""

from __future__ import annotations

from recsys_nas.cost import dense_flops, module_costs
from recsys_nas.space import CATALOGUE, Architecture


def architecture_text(architecture: Architecture) -> str:
    """Its stem, blocks, sources, modules with order and cost, and head; one thing a line."""
    total = dense_flops(architecture)
    flops = {(cost.block, cost.module): cost.flops for cost in module_costs(architecture)}

    def price(block: int, module: str) -> str:
        value = flops[block, module]
        return f"{value:>12,} FLOPs {value / total:>6.1%}"

    lines = [
        f"architecture {architecture.key()}: {total:,} dense FLOPs per example",
        f"stem     {architecture.num_dense} numeric features, {architecture.num_sparse} embeddings of {architecture.embedding_dim}",
    ]
    for number in architecture.reachable_blocks():
        block = architecture.blocks[number - 1]
        makes = [f"{block.dense_width} features"] * bool(block.dense) + [f"{block.num_tokens} tokens"] * bool(block.sparse)
        lines.append(f"block {number}  reads {_names(block.sources)}; makes {' and '.join(makes)}")
        lines += [f"  {name:<16} order {CATALOGUE[name].order:<5} {price(number, name)}" for name in block.modules]
    skip = ", and the raw stem by a linear skip" if architecture.linear_skip else ""
    lines.append(f"head     reads {_names(architecture.head)}{skip}")
    lines += [f"  {name:<28} {price(0, name)}" for block_number, name in flops if block_number == 0]
    return "\n".join(lines)


def _names(sources: tuple[int, ...]) -> str:
    return ", ".join("the stem" if source == 0 else f"block {source}" for source in sources) or "nothing"
