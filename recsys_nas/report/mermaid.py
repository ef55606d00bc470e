"""An architecture as a Mermaid flowchart, which Markdown viewers draw. No torch here: the report is written by the controller."""

from __future__ import annotations

from data_prep.wording import counted
from recsys_nas.space import PORTS, Architecture, Block


def mermaid(architecture: Architecture) -> str:
    """The network as a Mermaid flowchart, block by block: modules in boxes, dense streams as lines, tokens as thick lines."""
    live = architecture.live()
    lines = ["flowchart TD", f'  s0["stem: {stem(live)}"]']
    arrows = []
    for number in architecture.reachable_blocks():
        block = live.blocks[number - 1]
        lines.append(f'  subgraph s{number}["block {number}: {makes(block)}"]')
        lines += [f'    m{number}_{module.name}["{module.name}"]' for module in block.modules]
        lines.append("  end")
        for module in block.modules:
            for port in PORTS:
                line = "==>" if port == "sparse" else "-->|right|" if port == "right" else "-->"
                arrows += [f"  s{source} {line} m{number}_{module.name}" for source in sorted(module.sources(port))]
    lines.append('  head["head: one logit"]')
    arrows += [f"  s{source} --> head" for source in sorted(live.head)]
    if live.linear_skip:
        arrows.append("  s0 -.->|linear skip| head")
    return "\n".join(lines + arrows)


def stem(architecture: Architecture) -> str:
    """`13 numeric features, 26 embeddings of 16`."""
    numeric = counted(architecture.num_dense, "numeric feature")
    return f"{numeric}, {counted(architecture.num_sparse, 'embedding')} of {architecture.embedding_dim}"


def makes(block: Block) -> str:
    """`64 features and 16 tokens`."""
    tokens = f"{block.num_tokens} + {block.dense_to_tokens} tokens" if block.dense_to_tokens else counted(block.num_tokens, "token")
    made = [counted(block.dense_width, "feature")] * bool(block.dense_width) + [tokens] * bool(block.tokens_out)
    return " and ".join(made)
