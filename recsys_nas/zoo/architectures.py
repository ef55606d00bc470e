"""The published models that the search space can say, as `Architecture`s: data, with no torch.

Each function states how exact its network is beside the published one.
"""

from __future__ import annotations

from collections.abc import Callable

from recsys_nas.space import NAMED_SPACES, Architecture, Block, ModuleChoice, SearchSpace


def logistic_regression(num_dense: int, num_sparse: int, embedding_dim: int) -> Architecture:
    """Logistic regression: the linear skip alone. Exact but for where the weight of an id is kept: it is read off its embedding."""
    return Architecture(num_dense, num_sparse, embedding_dim, blocks=(), head=())


def nasrec_small_criteo(num_dense: int, num_sparse: int, embedding_dim: int) -> Architecture:
    """The network that NASRec-Small found on Criteo (Zhang et al., 2023; nasrec/configs/criteo of its code). Exact: at Criteo's 13
    and 26 columns and embeddings of 16 it has the published 2.21 M multiply-adds and 1.78 M parameters, dead ones counted."""
    blocks = (
        _nasrec_block("linear", 256, (0,), 48, (0,), appends=True),
        _nasrec_block("mixed_dot_product", 1024, (1,), 48, (0, 1), appends=True, adds=True),
        _nasrec_block("linear", 128, (0, 2), 16, (0, 1, 2), appends=True),
        _nasrec_block("linear", 16, (2,), 48, (0, 2), adds=True),
        _nasrec_block("mixed_dot_product", 128, (0, 2, 3, 4), 32, (2, 4)),
        _nasrec_block("linear", 16, (0, 1, 2, 5), 64, (1, 2, 5), appends=True),
        _nasrec_block("linear", 1024, (0, 3, 5), 64, (0, 1, 2, 5)),
    )
    return Architecture(num_dense, num_sparse, embedding_dim, blocks, (7,), stem="split", normalisation="none", linear_skip=False)


def _nasrec_block(
    module: str, width: int, dense: tuple[int, ...], tokens: int, sparse: tuple[int, ...], appends: bool = False, adds: bool = False
) -> Block:
    """One block in NASRec's words: a dense operator, linear-3d, and the mergers dense_sparse_interact (8 tokens) and deep_fm."""
    reads_tokens = sparse if module == "mixed_dot_product" else ()
    modules = (ModuleChoice(module, dense=dense, sparse=reads_tokens), ModuleChoice("embedded_fc", sparse=sparse))
    return Block(width, tokens, modules, dense_to_tokens=8 * appends, tokens_to_dense=adds)


def dhen(num_dense: int, num_sparse: int, embedding_dim: int) -> Architecture:
    """The whole ensemble of the space `dhen`: 4 layers of linear, dot product, cross and self-attention with token mixing.

    Near, not exact: DHEN (Zhang et al., 2022) normalises the sum of a layer and its shortcut; here each module is
    normalised, and the stem, read beside the layer before, is the shortcut. The paper prints no sizes: these are ours.
    """
    return SearchSpace(num_dense, num_sparse, embedding_dim, NAMED_SPACES["dhen"]).full()


ARCHITECTURES: dict[str, Callable[[int, int, int], Architecture]] = {
    "lr": logistic_regression,
    "nasrecnet": nasrec_small_criteo,
    "dhen": dhen,
}
"""By the names of `recsys_nas.zoo.catalogue.MODELS`, from (num_dense, num_sparse, embedding_dim)."""
