"""The six published NASRec networks, written out in our format, against the sizes published for them.

Sources: Zhang et al., 2023, and the code of facebookresearch/NasRec, whose `main_train.py` prints both figures. The files under
`golden/` are our own encoding of the genotypes in its `nasrec/configs`: `dense` and `sparse` sources of a module are its
`dense_idx` and `sparse_idx`, `dense` and `right` of sigmoid_gating and sum its `dense_left_idx` and `dense_right_idx`, a merger of 8
tokens its `dense_sparse_interact`, `tokens_to_dense` its `deep_fm`. Numeric and categorical columns are those of nasrec/torchrec:
13 and 26 in Criteo, 1 and 23 in Avazu, 3 and 10 in KDD; embeddings of 16; the final networks have no normalisation
(`use_layernorm` off) but for the transformer's own. What exactly was counted:

- Multiply-adds were counted on a traced graph (fvcore), from which all that never reaches the logit has fallen out: that is
  our live network. A layer normalisation counted 5 a value, and the products inside of attention, scores and mixing, not at all.
  We count these products, 2 * 16 * s^2 for s tokens, and matrix products alone.
- Parameters are all that the code makes, parts that never reach the logit too, each linear map with its bias, two scales and two
  shifts of 16 in each transformer, and without embedding tables.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from recsys_nas.cost import dense_flops
from recsys_nas.model import InteractionArch, head_features, pieces
from recsys_nas.space import NAMED_SPACES, Architecture, SearchSpace, load_architecture
from tests.recsys_nas.random_networks import inputs

GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Published:
    """Millions, as printed, and multiply-adds and parameters by our own count, which must not move."""

    name: str
    macs: str
    parameters: str
    our_macs: int
    our_parameters: int


PUBLISHED = (
    Published("nasrec_small_criteo", "2.208", "1.78", 2_207_808, 1_779_720),
    Published("nasrec_small_avazu", "3.086", "2.84", 3_085_600, 2_838_609),
    Published("nasrec_small_kdd", "3.483", "2.61", 3_482_848, 2_606_511),
    Published("nasrec_full_criteo", "1.261", "2.22", 1_448_297, 2_217_268),
    Published("nasrec_full_avazu", "1.795", "3.18", 1_866_816, 3_179_072),
    Published("nasrec_full_kdd", "0.887", "0.44", 1_079_753, 438_461),
)


def golden(name: str) -> Architecture:
    return load_architecture(GOLDEN / f"{name}.json")


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda published: published.name)
def test_multiply_adds_are_the_published_ones(published: Published) -> None:
    architecture = golden(published.name)
    macs = dense_flops(architecture) // 2
    assert macs == published.our_macs
    attended = [block.num_tokens for block in architecture.live().blocks if "transformer" in block.sparse]
    products = sum(2 * 16 * tokens**2 for tokens in attended)
    normalised = sum(2 * 5 * 16 * tokens for tokens in attended)
    assert f"{(macs - products + normalised) / 1e6:.3f}" == published.macs


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda published: published.name)
def test_parameters_are_the_published_ones(published: Published) -> None:
    architecture = golden(published.name)
    made = head_features(architecture, 7) + 1
    for number in range(1, 8):
        # The network as it is written, not the live one.
        made += sum(p.numel() for piece in pieces(architecture, number) for p in piece.layer(piece.shape).parameters())
    assert made == published.our_parameters
    assert f"{made / 1e6:.2f}" == published.parameters


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda published: published.name)
def test_torch_counts_the_same_on_the_real_network(published: Published) -> None:
    architecture = golden(published.name)
    network = InteractionArch(architecture)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        logits = network(*inputs(architecture, 2, torch.float32))
    assert counter.get_total_flops() == 2 * dense_flops(architecture)
    assert logits.isfinite().all()


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda published: published.name)
def test_each_is_a_member_of_its_space_but_for_the_normalisation(published: Published) -> None:
    architecture = golden(published.name)
    rules = NAMED_SPACES["_".join(published.name.split("_")[:2])]
    sizes = (architecture.num_dense, architecture.num_sparse, architecture.embedding_dim)
    SearchSpace(*sizes, replace(rules, normalisation="none")).check(architecture)
    with pytest.raises(ValueError, match="normalisation = 'none': the space has 'layer'"):
        SearchSpace(*sizes, rules).check(architecture)
