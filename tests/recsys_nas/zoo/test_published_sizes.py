"""Numbers of parameters against the totals that BARS's logs print, to the last one.

The logs are in github.com/reczoo/BARS at commit 5b5e61f, `ranking/ctr/<model>/<model>_criteo_<split>/README.md`, line "Total number
of parameters". They hold tables, first-order tables and batch normalisation too, which are taken off here: Criteo_x1 has 13 numeric
features and 2,086,303 ids at embedding 10, Criteo_x4_001 has 39 columns of together 910,747 ids at embedding 16.
"""

from __future__ import annotations

from torch import nn

from recsys_nas.zoo.autoint import AutoIntPlus
from recsys_nas.zoo.dcnv2 import DcnV2
from recsys_nas.zoo.dlrm import Dlrm
from recsys_nas.zoo.factorisation import DeepFm, Fm, XDeepFm
from recsys_nas.zoo.finalmlp import FinalMlp
from recsys_nas.zoo.mlp import Mlp
from recsys_nas.zoo.networks import NETWORKS

X1_IDS, X4_IDS = 2_086_303, 910_747
X1_TABLES, X4_TABLES = X1_IDS * 10, X4_IDS * 16
X1 = (13, 26, 10)
AS_FIELDS = (0, 39, 10)
X1_VECTORS = 13 * 10
X1_FIRST_ORDER_TABLE = X1_IDS
# Ours: 10 weights for each of 26 columns, where the papers' models have one for each id.
X1_FIRST_ORDER = 26 * 10
BATCH_NORM = 2 * 1200
WIDE = [1000] * 5


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_logistic_regression() -> None:
    assert size(NETWORKS["lr"](*X1)) - X1_FIRST_ORDER == 2_086_317 - X1_FIRST_ORDER_TABLE


def test_fm() -> None:
    assert size(Fm(*X1)) - X1_FIRST_ORDER == 22_949_477 - X1_TABLES - X1_FIRST_ORDER_TABLE


def test_mlp() -> None:
    # BARS's log of DNN counts its MLP twice; the logs of DeepFM and FM, a release alike, differ by it and batch normalisation.
    assert size(Mlp(*AS_FIELDS)) == (21_818_362 - X1_TABLES - X1_VECTORS) / 2 == 477_601


def test_deepfm() -> None:
    # Ours has the bias of the first order beside that of the MLP.
    assert size(DeepFm(*X1)) - X1_FIRST_ORDER - 1 == 23_429_477 - X1_TABLES - X1_FIRST_ORDER_TABLE - BATCH_NORM


def test_xdeepfm() -> None:
    assert size(XDeepFm(*X1)) - X1_FIRST_ORDER - 1 == 23_461_462 - X1_TABLES - X1_FIRST_ORDER_TABLE


def test_autoint_plus() -> None:
    assert size(AutoIntPlus(*X1)) - X1_FIRST_ORDER - 1 == 23_844_454 - X1_TABLES - X1_FIRST_ORDER_TABLE - BATCH_NORM


def test_dcnv2() -> None:
    assert size(DcnV2(*AS_FIELDS, hidden=[500] * 3)) == 22_018_021 - X1_TABLES - X1_VECTORS
    assert size(DcnV2(0, 39, 16, hidden=WIDE)) == 20_382_577 - X4_TABLES - 2 * sum(WIDE)


def test_dlrm() -> None:
    assert size(Dlrm(*X1, bottom=[400] * 3, top=[400] * 3)) == 21_664_241 - X1_TABLES - 2 * BATCH_NORM


def test_finalmlp() -> None:
    assert size(FinalMlp(0, 39, 16, first=WIDE, second=[500], num_heads=50)) == 19_524_954 - X4_TABLES
