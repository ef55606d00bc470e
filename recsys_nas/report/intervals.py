"""Confidence intervals over a handful of seeds, by Student's t: with 3 seeds the normal quantile would be half too narrow."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

# two-sided 95 % quantiles of Student's t for 1..30 degrees of freedom
_T95 = (
    *(12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139),
    *(2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963),
    *(2.079614, 2.073873, 2.068658, 2.063899, 2.059539, 2.055529, 2.051831, 2.048407, 2.045230, 2.042272),
)
_Z95 = 1.959963985


def t95(degrees: int) -> float:
    """The 97.5 % quantile of Student's t; beyond 30 degrees by the Cornish-Fisher expansion, good to five digits."""
    if degrees <= len(_T95):
        return _T95[degrees - 1]
    z = _Z95
    terms = ((z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
    return z + sum(term / degrees**power for power, term in enumerate(terms, start=1))


def half_width95(values: Sequence[float]) -> float | None:
    """Half the width of the 95 % confidence interval of the mean; None for a single value, which says nothing of spread."""
    if len(values) < 2:
        return None
    return t95(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def auc_sampling95(auc: float, positives: int, negatives: int) -> float | None:
    """Half-width of the 95 % interval of an AUC over test sets of this size, by Hanley and McNeil (1982); None without both classes."""
    if positives < 1 or negatives < 1:
        return None
    both_positives = auc / (2 - auc) - auc**2
    both_negatives = 2 * auc**2 / (1 + auc) - auc**2
    variance = (auc * (1 - auc) + (positives - 1) * both_positives + (negatives - 1) * both_negatives) / (positives * negatives)
    return _Z95 * math.sqrt(variance)
