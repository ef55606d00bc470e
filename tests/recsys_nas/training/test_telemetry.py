"""The event files of jobs, read back: every tag, the same words as in metrics.jsonl, one rank only, and there after a crash."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from recsys_nas.training import tensorboard
from recsys_nas.training.telemetry import Telemetry, mean_entropy, read_gates
from recsys_nas.training.window import PROGRESSIVE_ROWS, Progressive, gradient_norms

FIGURES = {"loss": 0.5, "ne": 0.9}


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    read = events(folder)
    return {tag: [(event.step, round(event.value, 5)) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def record(telemetry: Telemetry, step: int, others: dict[str, float] | None = None) -> None:
    telemetry.window.add(100, 0.5, 0.3)
    telemetry.window.gradient_norms = {"weights": torch.tensor(3.0)}
    telemetry.progressive.add(torch.tensor([-1.0, 1.0, 0.0, 2.0]), torch.tensor([0.0, 1.0, 1.0, 0.0]))
    telemetry.record(step, 100 * step, FIGURES, others)


def test_tags_and_keys_are_the_same_words(tmp_path: Path) -> None:
    with Telemetry(tmp_path, 1000, 0, active=True) as telemetry:
        for step in (1, 2):
            others = {"learning_rate/weights": 0.01, "gates/1/fm": 0.25 * step, "gates/1/cross": 0.5, "search/target_flops": 9.0}
            record(telemetry, step, others)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    read = scalars(tmp_path)
    keys = set(lines[0]) - {"step", "rows", "total_rows", "seconds_left"}
    assert {f"train/{key}" if "/" not in key else key for key in keys} | {"gates/1/fm", "gates/1/cross", "search/gate_entropy"} == set(read)
    assert read["train/loss"] == [(1, 0.5), (2, 0.5)]
    assert read["eval/auc"] == [(1, 0.5), (2, 0.5)]
    assert read["gradient_norm/weights"][0] == (1, 3.0)
    assert read["gates/1/fm"] == [(1, 0.25), (2, 0.5)]
    assert read["search/gate_entropy"][1] == (2, 1.0)
    assert 0 <= lines[0]["data_wait_share"] <= 1
    assert lines[0]["host_memory_mb"] > 10
    assert read_gates(tmp_path) == [{"step": 1, "1/fm": 0.25, "1/cross": 0.5}, {"step": 2, "1/fm": 0.5, "1/cross": 0.5}]


def test_a_quick_job_leaves_twenty_records_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys_nas.training.telemetry.SECONDS_BETWEEN_RECORDS", math.inf)
    with Telemetry(tmp_path, 2000, 0, active=True) as telemetry:
        due = []
        for step in range(1, 21):
            telemetry.window.add(60, 0.5, 0.3)
            due.append(telemetry.due)
            if telemetry.due:
                telemetry.record(step, 60 * step, FIGURES)
    assert due == [False, True] * 10


def test_the_heat_map_has_a_column_a_record(tmp_path: Path) -> None:
    with Telemetry(tmp_path, 1000, 0, active=True) as telemetry:
        for step in (1, 2, 3):
            record(telemetry, step, {"gates/1/fm": 0.0, "gates/1/cross": 1.0})
    (image,) = events(tmp_path).Images("search/gates")
    assert (image.step, image.width) == (3, 520)
    assert image.encoded_image_string.startswith(b"\x89PNG")


def plugin_data(folder: Path, tag: str) -> bytes:
    content: bytes = events(folder).SummaryMetadata(tag).plugin_data.content
    return content


def parsed(folder: Path, tag: str) -> Any:
    data = plugin_data_pb2.HParamsPluginData()
    data.ParseFromString(plugin_data(folder, tag))
    return data


@pytest.mark.parametrize("failed", [False, True])
def test_the_table_has_the_job_and_how_it_ended(tmp_path: Path, failed: bool) -> None:
    telemetry = Telemetry(tmp_path, 1000, 0, active=True)
    telemetry.settings("search day 3", {"model": "found", "day": 3, "learning_rate": 0.01})
    telemetry.close(failed)
    began = parsed(tmp_path, "_hparams_/session_start_info").session_start_info
    assert (began.hparams["model"].string_value, began.hparams["day"].number_value, began.group_name) == ("found", 3, "search day 3")
    columns = parsed(tmp_path, "_hparams_/experiment").experiment
    assert [info.name for info in columns.hparam_infos] == list(tensorboard.SETTINGS)
    assert "test/auc" in [info.name.tag for info in columns.metric_infos]
    assert parsed(tmp_path, "_hparams_/session_end_info").session_end_info.status == (2 if failed else 1)
    assert len(list(tmp_path.glob("events.*"))) == 1


def test_an_unknown_column_is_refused(tmp_path: Path) -> None:
    telemetry = Telemetry(tmp_path, 1000, 0, active=True)
    with pytest.raises(ValueError, match="dai"):
        telemetry.settings("search", {"dai": 3})
    telemetry.close()


def test_the_layout_names_tags_that_jobs_write(tmp_path: Path) -> None:
    with Telemetry(tmp_path, 1000, 0, active=True) as telemetry:
        others = {"gates/1/fm": 0.2, "search/expected_dense_flops": 5.0, "search/target_flops": 4.0}
        record(telemetry, 1, others)
    (event,) = events(tmp_path).Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    charts = [tag for category in layout.category for chart in category.chart for tag in chart.multiline.tag]
    assert len(layout.category) == 3
    assert {tag.replace("gates/.*", "gates/1/fm") for tag in charts} <= set(scalars(tmp_path))


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    with Telemetry(tmp_path / "job", 1000, 0, active=False) as telemetry:
        record(telemetry, 1)
        telemetry.text("config", "x")
        telemetry.settings("search", {"day": 1})
    assert not (tmp_path / "job").exists()


def test_after_a_crash_everything_recorded_is_there(tmp_path: Path) -> None:
    def job() -> None:
        with Telemetry(tmp_path, 1000, 0, active=True) as telemetry:
            telemetry.settings("search", {"day": 1})
            record(telemetry, 1, {"gates/1/fm": 0.2})
            assert scalars(tmp_path)["train/loss"] == [(1, 0.5)]  # before any close
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        job()
    assert parsed(tmp_path, "_hparams_/session_end_info").session_end_info.status == 2


def test_records_beyond_the_checkpoint_are_dropped_on_resume(tmp_path: Path) -> None:
    for resumed_at, steps in ((0, (1, 2, 3)), (1, (2, 3))):
        with Telemetry(tmp_path, 1000, resumed_at, active=True) as telemetry:
            for step in steps:
                record(telemetry, step, {"gates/1/fm": 0.2})
    for name in ("metrics.jsonl", "gates.jsonl"):
        assert [json.loads(line)["step"] for line in (tmp_path / name).read_text().splitlines()] == [1, 2, 3]


@pytest.mark.parametrize(("resumed_at", "left"), [(0, [1, 2]), (2, [1, 2, 3])])
def test_curves_hold_what_was_recorded_up_to_the_checkpoint_and_nothing_of_a_lost_attempt(
    tmp_path: Path, resumed_at: int, left: list[int]
) -> None:
    with Telemetry(tmp_path, 1000, 0, active=True) as telemetry:
        for step in (1, 2, 5):
            record(telemetry, step)
    with Telemetry(tmp_path, 1000, resumed_at, active=True) as telemetry:
        for step in left[-2:] if not resumed_at else [3]:
            record(telemetry, step)
    assert [step for step, _ in scalars(tmp_path)["train/loss"]] == left


def test_quality_is_that_of_the_latest_rows_and_needs_both_classes() -> None:
    progressive = Progressive()
    assert progressive.figures() == {}
    progressive.add(torch.zeros(4), torch.zeros(4))
    assert "auc" not in progressive.figures()
    half = PROGRESSIVE_ROWS // 2
    progressive.add(torch.linspace(-1, 1, half), torch.arange(half) % 2 * 1.0)
    for _ in range(2):  # pushes all of the above out
        progressive.add(torch.linspace(-1, 1, half), (torch.arange(half) >= half / 2).float())
    assert progressive.figures()["auc"] == 1.0
    progressive.add(torch.full((half,), math.log(0.5 / 0.5)), torch.zeros(half))
    assert progressive.figures()["calibration"] == pytest.approx(2.0, rel=1e-3)


def test_gradient_norms_are_told_by_optimizer() -> None:
    weights, alphas = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    weights.grad = torch.tensor([3.0, 4.0])
    norms = gradient_norms({"weights": torch.optim.SGD([weights]), "alphas": torch.optim.SGD([alphas])})
    assert {name: float(norm) for name, norm in norms.items()} == {"weights": 5.0}


def test_entropy_is_one_bit_when_nothing_is_decided() -> None:
    assert mean_entropy([0.5, 0.5]) == 1.0
    assert mean_entropy([0.0, 1.0]) == 0.0
    assert mean_entropy([0.5, 1.0]) == 0.5
