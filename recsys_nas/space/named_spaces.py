"""The spaces that have a name, each with where it comes from and where it differs."""

from __future__ import annotations

from dataclasses import replace

from recsys_nas.space.rules import SpaceRules

_NASREC_SMALL = SpaceRules(
    num_blocks=7,
    dense_widths=(16, 32, 64, 128, 256, 512, 768, 1024),
    token_counts=(16, 32, 48, 64),
    dense_modules=("linear", "mixed_dot_product"),
    sparse_modules=("embedded_fc",),
    pick="one",
    connect="any",
    max_sources=4,
    merger_tokens=8,
    head="last",
    stem="split",
    normalisation="layer",
    linear_skip=False,
)

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
    # NASRec (Zhang et al., 2023, section 3; nasrec/supernet/supernet.py in its code, `autoctr` and `xlarge`), sizes 10^32.3 and 10^43.9.
    # Its code normalises inside of modules, before their activation, in the search, and not at all afterwards; here each module's
    # output is, and always, or never with normalisation = "none". Its authors' widths are large: smaller ones may be set here.
    "nasrec_small": _NASREC_SMALL,
    "nasrec_full": replace(
        _NASREC_SMALL,
        dense_modules=("linear", "mixed_dot_product", "sigmoid_gating", "sum"),
        sparse_modules=("transformer", "embedded_fc"),
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
