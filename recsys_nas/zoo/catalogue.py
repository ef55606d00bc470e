"""Names of the published models that a run can be compared with. No torch here: the controller checks names before it starts.

All are built without batch normalisation and dropout, which belong to training and are the same for all models of a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BARS = "https://github.com/reczoo/BARS/blob/5b5e61f/ranking/ctr"
FUXICTR = "https://github.com/reczoo/FuxiCTR/blob/0245987/model_zoo"


@dataclass(frozen=True)
class ZooModel:
    """A published model: where it comes from, the size that is used here, and whose choice that is.

    `form`: whether it is an `Architecture` of the search space or code. `space`: how the space relates to it.
    """

    name: str
    paper: str
    setting: str
    source: str
    form: Literal["architecture", "code"]
    space: str


MODELS: dict[str, ZooModel] = {
    model.name: model
    for model in (
        ZooModel(
            "dlrm",
            "Naumov et al., DLRM, 2019, arXiv:1906.00091",
            "bottom MLP 512-256-64, top MLP 512-256",
            "https://github.com/facebookresearch/dlrm, bench/dlrm_s_criteo_kaggle.sh",
            "code",
            "dot_product projects its products before they are joined with the dense stream, and has no MLP in its dense token",
        ),
        ZooModel(
            "dcnv2",
            "Wang et al., DCN V2, 2021, arXiv:2008.13535",
            "3 full-rank crosses beside an MLP 400-400-400 (BARS has 500-500-500; 400 keeps the MLP that the others have)",
            f"{BARS}/DCNv2/DCNv2_criteo_x1/README.md",
            "code",
            "cross multiplies its input with itself, not with the stem; a first cross is exact, a second is not",
        ),
        ZooModel(
            "mlp",
            "the plain deep network of Zhu et al., BARS, 2022, arXiv:2205.09626",
            "MLP 400-400-400",
            f"{BARS}/DNN/DNN_criteo_x1/README.md",
            "code",
            "exact as three blocks of one linear module; code keeps PyTorch's initialisation",
        ),
        ZooModel(
            "lr",
            "Richardson et al., Predicting clicks, 2007 (logistic regression)",
            "no hidden layer",
            f"{BARS}/LR/LR_criteo_x1/README.md",
            "architecture",
            "exact: no block, the linear skip alone",
        ),
        ZooModel(
            "fm",
            "Rendle, Factorization Machines, 2010",
            "degree 2",
            f"{BARS}/FM/FM_criteo_x1/README.md",
            "code",
            "fm contains it, with a weight for each dimension; the space has no vectors of numeric features",
        ),
        ZooModel(
            "deepfm",
            "Guo et al., DeepFM, 2017, arXiv:1703.04247",
            "MLP 400-400-400",
            f"{BARS}/DeepFM/DeepFM_criteo_x1/README.md",
            "code",
            "fm beside linear modules contains it, but for the vectors of numeric features",
        ),
        ZooModel(
            "xdeepfm",
            "Lian et al., xDeepFM, 2018, arXiv:1803.05170",
            "CIN 16-16, MLP 400-400-400",
            f"{BARS}/xDeepFM/xDeepFM_criteo_x1/README.md",
            "code",
            "cin beside linear modules is close; the vectors of numeric features are missing",
        ),
        ZooModel(
            "autoint_plus",
            "Song et al., AutoInt, 2019, arXiv:1810.11921",
            "3 interacting layers of width 256, 2 heads, LayerNorm; MLP 400-400-400",
            f"{BARS}/AutoInt/AutoInt+_criteo_x1/README.md",
            "code",
            "self_attention mixes tokens first and has one head of the embedding's width",
        ),
        ZooModel(
            "finalmlp",
            "Mao et al., FinalMLP, 2023, arXiv:2304.00902",
            "MLPs 400-400-400 and 1000, 200 heads, without feature selection (its contexts are columns of one data set)",
            f"{BARS}/FinalMLP/FinalMLP_criteo_x1/README.md",
            "code",
            "bilinear_fusion has one head of all features where FinalMLP has many; the vectors of numeric features are missing",
        ),
        ZooModel(
            "wukong",
            "Zhang et al., Wukong, 2024, arXiv:2403.02545",
            "3 layers of 40 + 40 tokens, rank 8, MLPs 512-256",
            f"{FUXICTR}/WuKong/config/model_config.yaml (WuKong_default)",
            "code",
            "lcb and fmb in one block are summed, not joined, and nothing normalises after the residual",
        ),
        ZooModel(
            "dhen",
            "Zhang et al., DHEN, 2022, arXiv:2203.11014",
            "4 layers of linear, dot product and cross (width 128), embedded FC and self-attention (16 tokens)",
            "ours: the paper prints no sizes",
            "architecture",
            "near: it normalises each module where DHEN normalises the sum of a layer and its shortcut",
        ),
        ZooModel(
            "nasrecnet",
            "Zhang et al., NASRec, 2023, arXiv:2207.07187",
            "what NASRec-Small found on Criteo: 7 blocks",
            "https://github.com/facebookresearch/NasRec, nasrec/configs/criteo",
            "architecture",
            "exact",
        ),
    )
}

FOUND = "found"
REFINED = "refined"
"""What `recsys-nas refine` made of the found network."""
FULL_SUPERNET = "full_supernet"
RUN_MODELS = (FOUND, FULL_SUPERNET, *MODELS)
"""Every model that a launched run can retrain: what the search found, the whole supernet's network, and the zoo."""
