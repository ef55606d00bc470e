"""What a job says of itself while it runs: `metrics.jsonl`, which the controller follows, and TensorBoard events."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from recsys_nas.training.metrics import RunningLoss

SECONDS_BETWEEN_RECORDS = 1.0


@dataclass
class Window(RunningLoss):
    """What was seen since the last record."""

    began: float = field(default_factory=time.monotonic)


class Telemetry:
    """Records of one job in `folder`, written on rank 0; on other ranks every call does nothing.

    Records of steps beyond `resumed_at`, left by an attempt that was killed, are dropped.
    """

    def __init__(self, folder: Path, total_rows: int, resumed_at: int, active: bool) -> None:
        self.active = active
        self.total_rows = total_rows
        self.window = Window()
        self._path = folder / "metrics.jsonl"
        if not active:
            return
        folder.mkdir(parents=True, exist_ok=True)
        kept = [line for line in _lines(self._path) if json.loads(line)["step"] <= resumed_at]
        self._path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        self._writer = SummaryWriter(str(folder), purge_step=resumed_at or None)

    @property
    def due(self) -> bool:
        return self.active and time.monotonic() - self.window.began >= SECONDS_BETWEEN_RECORDS

    def record(self, step: int, rows_done: int, figures: Mapping[str, float]) -> None:
        """Append a record with speed and time left added, and start a new window. `figures` maps tags to values."""
        if not self.active:
            return
        elapsed = max(time.monotonic() - self.window.began, 1e-9)
        rate = self.window.rows / elapsed
        values = dict(figures) | {"rows_per_second": rate, "seconds_left": (self.total_rows - rows_done) / rate if rate else 0.0}
        line = {"step": step, "rows": rows_done, "total_rows": self.total_rows} | {k: round(v, 6) for k, v in values.items()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.scalars(step, {f"train/{name}": value for name, value in values.items() if name != "seconds_left"})
        self.window = Window()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        if self.active:
            for tag, value in values.items():
                self._writer.add_scalar(tag, value, step)
            self._writer.flush()

    def text(self, tag: str, text: str) -> None:
        if self.active:
            self._writer.add_text(tag, text)

    def close(self) -> None:
        if self.active:
            self._writer.close()


class StepWindows(Telemetry):
    """Writes nothing; has the trainer note the loss of every `rows` rows, so that the curve is the same in every run."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.active = False
        self.window = Window()

    @property
    def due(self) -> bool:
        return self.window.rows >= self.rows

    def record(self, step: int, rows_done: int, figures: Mapping[str, float]) -> None:
        self.window = Window()


def _lines(path: Path) -> list[str]:
    """Whole lines of a record file; a line cut off by a kill is left out."""
    if not path.exists():
        return []
    return [line for line in path.read_text(encoding="utf-8").split("\n")[:-1] if line.endswith("}")]
