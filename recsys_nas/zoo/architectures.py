"""The published models that the search space can say, as `Architecture`s: data, with no torch.

Each function states how exact its network is beside the published one.
"""

from __future__ import annotations

from collections.abc import Callable

from recsys_nas.space import Architecture


def logistic_regression(num_dense: int, num_sparse: int, embedding_dim: int) -> Architecture:
    """Logistic regression: the linear skip alone. Exact but for where the weight of an id is kept: it is read off its embedding."""
    return Architecture(num_dense, num_sparse, embedding_dim, blocks=(), head=())


ARCHITECTURES: dict[str, Callable[[int, int, int], Architecture]] = {"lr": logistic_regression}
"""By the names of `recsys_nas.zoo.catalogue.MODELS`, from (num_dense, num_sparse, embedding_dim)."""
