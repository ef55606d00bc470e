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
    """Sizes of a published model that differ from the zoo's (docs/zoo.md); what is left empty or 0 stays as it is there."""

    model: str = ""
    """Which model this is a variant of, where it has a name of its own."""
    hidden: tuple[int, ...] = ()
    """Widths of hidden layers."""
    bottom: tuple[int, ...] = ()
    """Of DLRM: hidden layers over the numeric features."""
    top: tuple[int, ...] = ()
    """Of DLRM: hidden layers over the inner products."""
    crosses: int = 0
    """Of DCNv2: how many cross layers."""
    maps: tuple[int, ...] = ()
    """Of xDeepFM: feature maps of each layer of its CIN."""
    first: tuple[int, ...] = ()
    """Of FinalMLP: hidden layers of the first stream."""
    second: tuple[int, ...] = ()
    """Of FinalMLP: hidden layers of the second stream."""
    num_heads: int = 0
    """Of the bilinear fusion, or of attention."""
    contexts: tuple[str, ...] = ()
    """Of FinalMLP: the two features that decide in its feature selection."""
    gate_hidden: tuple[int, ...] = ()
    """Of FinalMLP: hidden layers of the gates of that selection."""

    def __post_init__(self) -> None:
        for name, value in self.given().items():
            if name != "contexts" and min(value if isinstance(value, tuple) else (value,)) < 1:
                raise ValueError(f"{name} = {list(value) if isinstance(value, tuple) else value}: must be 1 or more")
        if len(self.contexts) not in (0, 2):
            raise ValueError(f"contexts = {list(self.contexts)}: names two features, one for each stream")

    def given(self) -> dict[str, Any]:
        """What differs from the zoo, by the names of the model's arguments."""
        values = {field_.name: getattr(self, field_.name) for field_ in dataclasses.fields(self) if field_.name != "model"}
        return {name: value for name, value in values.items() if value}


@dataclass(frozen=True)
class RetrainConfig(TrainingConfig):
    """Training from scratch, alike for every model.

    With `data.valid_days`, every epoch ends with a look at them, and the model goes back to its best epoch.
    """

    section: ClassVar[str] = "retrain"

    models: tuple[str, ...] = ("full_supernet", "dlrm", "dcnv2", "mlp")
    """What the found network is compared with: names of docs/zoo.md, `full_supernet`, or keys of `sizes`."""
    sizes: dict[str, ZooSizes] = field(default_factory=dict)
    """Sizes of a model of the zoo that differ from docs/zoo.md, by the model's name or a name of your own."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each model is trained once with each of these."""
    batch_size: int = 1024
    """Rows of one step, over all ranks."""
    initialisation: Literal["own", "xavier_normal"] = "own"
    """First weights: each model's own, or Xavier's normal ones for all."""
    batch_norm: bool = False
    """In front of every hidden ReLU of the zoo (networks of the space have `space.normalisation`)."""
    monitor: Monitor = "auc"
    """Figure of the validation days by which an epoch is the best (`recsys_nas.training.early_stopping`)."""
    patience: int = 0
    """Stop after so many epochs in a row without a new best; 0: never."""
    lr_cut: float = 1.0
    """Each epoch without a new best multiplies all learning rates by this."""
    hold_epochs: int = 0
    """First epochs, in which nothing is cut or counted."""
    progressive: str = ""
    """Days to score in turn instead of `test_day`, each by models trained on those of `train_days` before it; empty: none."""
    random_controls: int = 0
    """Train so many random networks of the space beside the found one, at its dense FLOPs but for 10 %."""
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
