"""Random networks at the cost of the one that was found: what a search has to beat to have been worth it."""

from __future__ import annotations

import random

from data_prep.wording import counted
from recsys_nas.cost import dense_flops
from recsys_nas.space import Architecture, SearchSpace

TOLERANCE = 0.1
"""How far the dense FLOPs of a control may lie from those of the found network, as a share of them."""
MAX_TRIES = 50_000


def random_controls(space: SearchSpace, found: Architecture, count: int, seed: int) -> list[Architecture]:
    """`count` networks of the space, all different and none of them `found`, whose dense FLOPs lie within 10 % of its; the first ones
    of a longer list are those of a shorter one.

    Where modules are chosen independently, first the share of modules to keep is drawn and then each of them, so that small networks
    come up as often as large ones. Raises ValueError when so many are not found.
    """
    generator = random.Random(seed)
    target = dense_flops(found)
    controls: dict[str, Architecture] = {found.key(): found}
    for _ in range(MAX_TRIES):
        if len(controls) > count:
            break
        drawn = _draw(space, generator)
        if abs(dense_flops(drawn) - target) <= TOLERANCE * target:
            controls.setdefault(drawn.key(), drawn)
    if len(controls) <= count:
        raise ValueError(
            f"retrain.random_controls = {count}: {counted(len(controls) - 1, 'network')} of the space met within {TOLERANCE:.0%} of the "
            f"found one's {target:,} dense FLOPs in {MAX_TRIES:,} draws; lower it to {len(controls) - 1}"
        )
    return list(controls.values())[1 : count + 1]


def _draw(space: SearchSpace, generator: random.Random) -> Architecture:
    if space.rules.pick != "any" or len(space.rules.dense_widths) > 1 or len(space.rules.token_counts) > 1:
        return space.sample(generator)
    while True:
        share = generator.random()
        if kept := [gate for gate in space.gates if generator.random() < share]:
            return space.architecture(kept)
