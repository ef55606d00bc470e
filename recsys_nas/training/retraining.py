"""What a user may set about training from scratch, the same for the found architecture and every model it is compared with.

No torch here: the config is made of it.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from recsys_nas.training.early_stopping import EarlyStopping, Monitor
from recsys_nas.training.schedules import Decay
from recsys_nas.training.settings import TrainingConfig


@dataclass(frozen=True)
class ZooSizes:
    """Sizes of a published model that differ from the zoo's (docs/zoo.md); what is left empty or 0 stays as it is there.

    `model`: which model this is a variant of, where it has a name of its own. `contexts`: the two features that decide in FinalMLP's
    feature selection, whose gates have the hidden layers `gate_hidden`.
    """

    model: str = ""
    hidden: tuple[int, ...] = ()
    bottom: tuple[int, ...] = ()
    top: tuple[int, ...] = ()
    crosses: int = 0
    maps: tuple[int, ...] = ()
    first: tuple[int, ...] = ()
    second: tuple[int, ...] = ()
    num_heads: int = 0
    contexts: tuple[str, ...] = ()
    gate_hidden: tuple[int, ...] = ()

    def given(self) -> dict[str, Any]:
        """What differs from the zoo, by the names of the model's arguments."""
        values = {field_.name: getattr(self, field_.name) for field_ in dataclasses.fields(self) if field_.name != "model"}
        return {name: value for name, value in values.items() if value}


@dataclass(frozen=True)
class RetrainConfig(TrainingConfig):
    """Training from scratch for up to `epochs` passes over `data.train_days`.

    With `data.valid_days`, every epoch ends with a look at them, which the rule of `recsys_nas.training.early_stopping` goes by, and the
    model goes back to its best epoch. `initialisation`: first weights, each model's own, or Xavier's normal ones for all.
    `batch_norm`: in front of every hidden ReLU of the zoo (networks of the space have `space.normalisation`).
    `random_controls`: train so many random networks of the space beside the found one, at its FLOPs but for 10 %.
    `progressive`: days, as in `data.train_days`, to be scored in turn instead of the test day: for each of them a model is trained from
    scratch on those of `data.train_days` that come before it, as production models are judged.
    """

    section: ClassVar[str] = "retrain"

    models: tuple[str, ...] = ("full_supernet", "dlrm", "dcnv2", "mlp")
    sizes: dict[str, ZooSizes] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1, 2)
    batch_size: int = 1024
    initialisation: Literal["own", "xavier_normal"] = "own"
    batch_norm: bool = False
    monitor: Monitor = "auc"
    patience: int = 0
    lr_cut: float = 1.0
    hold_epochs: int = 0
    progressive: str = ""
    random_controls: int = 0
    lr_decay: Decay = "linear"
    checkpoint_every_steps: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.batch_size < math.inf:
            raise ValueError(f"retrain.batch_size = {self.batch_size}: must be finite and above 0")
        for name in ("patience", "hold_epochs", "random_controls"):
            if getattr(self, name) < 0:
                raise ValueError(f"retrain.{name} = {getattr(self, name)}: must be 0 or more")
        if not 0 < self.lr_cut <= 1:
            raise ValueError(f"retrain.lr_cut = {self.lr_cut}: must lie in (0, 1]")
        if not self.seeds:
            raise ValueError("retrain.seeds is empty: name at least one seed")
        # A seed counted twice would narrow every confidence interval.
        if min(self.seeds) < 0 or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"retrain.seeds = {list(self.seeds)}: must be 0 or more, each named once")

    @property
    def heeds_validation(self) -> bool:
        """Whether a setting has no effect without validation days."""
        return self.patience > 0 or self.lr_cut < 1

    @property
    def early_stopping(self) -> EarlyStopping:
        return EarlyStopping(self.monitor, self.patience, self.lr_cut, self.hold_epochs)

    @property
    def controls(self) -> tuple[str, ...]:
        """Names of the random networks."""
        return tuple(f"random-{number:02d}" for number in range(self.random_controls))
