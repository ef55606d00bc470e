"""What a job says of itself while it runs: `metrics.jsonl`, which the controller follows, and TensorBoard events.

Both use the same words. `train/loss` in TensorBoard is `loss` in metrics.jsonl, and so with every tag under `train/`; all other
tags are keys of metrics.jsonl as they stand. Those that every module has are in TensorBoard only, there may be hundreds; the
probabilities under `gates/` are kept in `gates.jsonl` too.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from recsys_nas.training import tensorboard
from recsys_nas.training.window import Progressive, Window

SECONDS_BETWEEN_RECORDS = 1.0
LEAST_RECORDS = 20
GATES = "gates/"
BY_MODULE = (GATES, "alphas/", "decoys/")


class Telemetry:
    """Records of one job in `folder`, written on rank 0; on other ranks every call does nothing.

    Records of steps beyond `resumed_at`, left by an attempt that was killed, are dropped. What was recorded is in the files at
    once, so a crash loses a second at most; as a context manager it closes them in any case.
    """

    def __init__(self, folder: Path, total_rows: int, resumed_at: int, active: bool) -> None:
        self.active = active
        self.total_rows = total_rows
        self.window = Window()
        self.progressive = Progressive()
        self._folder = folder
        if not active:
            return
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("metrics.jsonl", "gates.jsonl"):
            _keep_until(folder / name, resumed_at)
        self._writer = SummaryWriter(str(folder), purge_step=resumed_at + 1)
        self._writer.add_custom_scalars(tensorboard.LAYOUT)

    def __enter__(self) -> Telemetry:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close(failed=kind is not None)

    @property
    def due(self) -> bool:
        """After a second, or a twentieth of the job: of a quick one too there are enough records to draw a curve through."""
        waited = time.monotonic() - self.window.began >= SECONDS_BETWEEN_RECORDS
        return self.active and (waited or self.window.rows * LEAST_RECORDS >= self.total_rows)

    @property
    def wants_gradients(self) -> bool:
        """Whether the norms of this step's gradients are to be put into the window: once a window."""
        return self.active and not self.window.gradient_norms

    def record(self, step: int, rows_done: int, figures: Mapping[str, float], others: Mapping[str, float] | None = None) -> None:
        """Append a record with speed, memory, time left and quality added, and start a new window.

        `figures` maps names to values that get the tag `train/<name>`; `others` maps whole tags.
        """
        if not self.active:
            return
        values = dict(figures) | self.window.figures()
        rate = values["rows_per_second"]
        tags = {f"eval/{name}": value for name, value in self.progressive.figures().items()}
        tags |= {f"gradient_norm/{name}": float(norm) for name, norm in self.window.gradient_norms.items()}
        by_module = {tag: value for tag, value in (others or {}).items() if tag.startswith(BY_MODULE)}
        tags |= {tag: value for tag, value in (others or {}).items() if tag not in by_module}
        line: dict[str, float] = {"step": step, "rows": rows_done, "total_rows": self.total_rows, **values}
        line |= {"seconds_left": (self.total_rows - rows_done) / rate if rate else 0.0, **tags}
        self._append("metrics.jsonl", line)
        self.scalars(step, {f"train/{name}": value for name, value in values.items()} | tags)
        self._by_module(step, by_module)
        self.window = Window()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        if self.active:
            for tag, value in values.items():
                self._writer.add_scalar(tag, value, step)
            self._writer.flush()

    def text(self, tag: str, text: str) -> None:
        if self.active:
            self._writer.add_text(tag, text)

    def settings(self, job: str, values: Mapping[str, Any]) -> None:
        """The line of this `job`, such as `search day 3`, in TensorBoard's table; names are those of `tensorboard.SETTINGS`."""
        if self.active:
            for summary in tensorboard.begun(job, values):
                self._writer._get_file_writer().add_summary(summary)
            self._writer.flush()

    def close(self, failed: bool = False) -> None:
        if not self.active:
            return
        history = read_gates(self._folder)
        if len(history) > 1:
            from recsys_nas.report.gate_history import gate_history

            self._writer.add_image("search/gates", gate_history(history), int(history[-1]["step"]), dataformats="HWC")
        self._writer._get_file_writer().add_summary(tensorboard.ended(failed))
        self._writer.close()

    def _by_module(self, step: int, values: Mapping[str, float]) -> None:
        if gates := {tag.removeprefix(GATES): value for tag, value in values.items() if tag.startswith(GATES)}:
            self._append("gates.jsonl", {"step": step, **gates})
            self.scalars(step, {**values, "search/gate_entropy": mean_entropy(list(gates.values()))})

    def _append(self, name: str, values: Mapping[str, float]) -> None:
        line = {key: round(value, 6) if isinstance(value, float) else value for key, value in values.items()}
        with (self._folder / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def as_code(text: str) -> str:
    """Text whose lines TensorBoard leaves as they are."""
    return f"```\n{text}\n```"


def mean_entropy(probabilities: Sequence[float]) -> float:
    """Mean entropy of gates in bits: 1 while nothing is decided, 0 when everything is."""
    inner = [p for p in probabilities if 0 < p < 1]
    return -sum(p * math.log2(p) + (1 - p) * math.log2(1 - p) for p in inner) / max(len(probabilities), 1)


def read_gates(folder: Path) -> list[dict[str, float]]:
    """The records of gates.jsonl: the step and the probability of each gate, in order of steps; empty where there is none."""
    return [json.loads(line) for line in _lines(folder / "gates.jsonl")]


def _keep_until(path: Path, step: int) -> None:
    lines = _lines(path)
    kept = [line for line in lines if json.loads(line)["step"] <= step]
    if lines or path.exists():
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


class StepWindows(Telemetry):
    """Writes nothing; has the trainer note the loss of every `rows` rows, so that the curve is the same in every run."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.active = False
        self.window = Window()

    @property
    def due(self) -> bool:
        return self.window.rows >= self.rows

    def record(self, step: int, rows_done: int, figures: Mapping[str, float], others: Mapping[str, float] | None = None) -> None:
        self.window = Window()


def _lines(path: Path) -> list[str]:
    """Whole lines of a record file; a line cut off by a kill is left out."""
    if not path.exists():
        return []
    return [line for line in path.read_text(encoding="utf-8").split("\n")[:-1] if line.endswith("}")]
