"""How the dense half computes: in bfloat16 where that is safe, as one compiled program, or plainly."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from recsys_nas.config import ConfigError
from recsys_nas.training.settings import Precision, TrainingConfig


@dataclass(frozen=True)
class Computation:
    """`precision`: with bfloat16, matrix products and what follows them run in it (torch.autocast); weights, gradients and
    optimizers stay float32, and so do the last layer (`recsys_nas.precision`), the loss and the metrics. `compile`: by torch.compile."""

    precision: Precision = "float32"
    compile: bool = False

    @staticmethod
    def of(training: TrainingConfig) -> Computation:
        """What a config asks for. Raises ConfigError where the machine cannot compile."""
        compiler = os.environ.get("CXX", "g++")
        if training.compile and not shutil.which(compiler):
            raise ConfigError(
                f"{training.section}.compile = true: torch.compile needs a C++ compiler, and there is no {compiler} on this machine; "
                "install one, name one in CXX, or leave the option out"
            )
        return Computation(training.precision, training.compile)

    def slow_on(self, device: torch.device) -> str:
        """What to tell the user where bfloat16 is emulated; empty elsewhere."""
        if self.precision == "float32" or device.type != "cpu" or not torch.backends.mkldnn.is_available():
            return ""
        if torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return ""
        return (
            "precision = 'bfloat16', but this CPU has no instructions for it (on x86 AVX-512), and multiplies matrices some thirty times "
            "slower than in float32; set search.precision and retrain.precision to 'float32'"
        )


PLAIN = Computation()


class Computed(nn.Module):
    """Calls a network as `computation` says. It has no parameters: the network keeps its own names, and can still be called plainly."""

    def __init__(self, network: nn.Module, computation: Computation) -> None:
        super().__init__()
        self.precision = computation.precision
        # A method is no module, so that nothing is registered twice.
        self._call = torch.compile(network.__call__) if computation.compile else network.__call__

    def forward(self, dense: Tensor, tokens: Tensor, *where: Any) -> Tensor:
        """`[B, I]`, `[B, F, D]` and what else the network takes -> logits `[B]`, float32."""
        with torch.autocast(dense.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            logits: Tensor = self._call(dense, tokens, *where)
        return logits
