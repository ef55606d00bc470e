"""The spaces that have a name, each with where it comes from and where it differs."""

from __future__ import annotations

from recsys_nas.space.rules import SpaceRules

NAMED_SPACES: dict[str, SpaceRules] = {
    # Every module of every block has a gate of its own; each reads everything before it. The idea is that of DistDNAS (Zhang et al.,
    # 2023); the modules and sizes are ours.
    "distdnas": SpaceRules(
        num_blocks=2,
        dense_widths=(64,),
        token_counts=(8,),
        dense_modules=("linear", "dot_product", "cross", "fm"),
        sparse_modules=("embedded_fc", "self_attention"),
    ),
    # DHEN (Zhang et al., 2022, section 3): a layer is an ensemble of different interaction modules on the layer before, beside a
    # shortcut. It adds the shortcut to the sum of the ensemble and the last layer alone is read; here the stem is read beside
    # the layer before, and the head reads all layers, so that a layer that keeps nothing breaks no path.
    "dhen": SpaceRules(
        num_blocks=4,
        dense_widths=(128,),
        token_counts=(16,),
        dense_modules=("linear", "dot_product", "cross"),
        sparse_modules=("embedded_fc", "self_attention"),
        connect="chain",
    ),
}
"""By the names that `space.name` takes in a config."""
