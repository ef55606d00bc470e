"""Every bad input ends the controller before a job starts, with one line and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_prep.shards import open_manifest
from launch import controller
from launch.devices import Slots, slots, spare_gpus
from launch.errors import LaunchError
from launch.jobs import ddp_app, retrain_jobs, search_jobs
from recsys_nas.config import LaunchConfig, load_config
from recsys_nas.search.day_results import note_settings


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.shards=nowhere", "data.shards = 'nowhere': no shards in nowhere"),
        (
            "data.shards=s3://bucket/shards",
            "data.shards = 's3://bucket/shards': s3://bucket/shards/manifest.json: nothing here can read s3://",
        ),
        ('data.search_days="0-1,6,8"', "data.search_days = '0-1,6,8': days 6, 8 not in"),
        ("data.test_day=-1", "data: test_day = -1: days are counted from 0"),
        ("data.truth=/nope/truth.json", "/nope/truth.json is missing; name the truth.json that `data-prep synth` wrote"),
        ("data.test_day=9", "which has 0, 1, 2, 3; make the shards with `data-prep run`"),
        ('space.dense_modules=["linear", "no_such"]', "no_such"),
        ("space.name=nasrec_small", "a differentiable search needs a gate a module, so pick = 'any'"),
        ('retrain.models=["dlmr"]', "retrain.models: there is no 'dlmr'; did you mean 'dlrm'?"),
        ('retrain.sizes={ small = { model = "dlmr" } }', "retrain.sizes.small: there is no 'dlmr'; did you mean 'dlrm'?"),
        ('retrain.progressive="2,8"', "retrain.progressive = '2,8': day 8 not in"),
        ('retrain.progressive="0-2"', "retrain.progressive = '0-2': no day of data.train_days = "),
        ('data.valid_days="7"', "data.valid_days = '7': day 7 not in"),
        ("launch.scheduler=slrum", "launch.scheduler: there is no 'slrum'; did you mean 'slurm'?"),
        ("launch.gpus=99", "launch.gpus = 99, but this machine shows"),
        ("serch.batch_size=3", "unknown key serch"),
        ("launch.min_days=4", "launch.min_days = 4: data.search_days has only 3; 0 stands for all of them"),
        ("launch.scheduler=kubernetes", "launch.image is empty: kubernetes runs containers"),
        ("launch={ gpus = 4, nproc_per_node = 8 }", "launch.nproc_per_node = 8, launch.gpus = 4: each process needs a GPU of its own"),
        ("launch.resource=8xh200", "Did you mean `8xh100`?"),
        ("search.target_flops=10", "search.target_flops = 10: the cheapest network, "),
        ("output=/dev/null/runs", "/dev/null"),
    ],
)
def test_one_line(config_file: Path, capsys: pytest.CaptureFixture[str], override: str, said: str) -> None:
    assert controller.main(["--config", str(config_file), override]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert said in shown
    assert shown.count("\n") == 1


def test_days_carried_over_from_a_run_of_other_settings_are_named(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = load_config(config_file)
    note_settings(config.run_folder, 1, load_config(config_file, ["space.linear_skip=false"]), open_manifest(config.data.shards))
    assert controller.main(["--config", str(config_file)]) == 2
    assert "days/day=01 was searched with space.linear_skip = false, and this run has true" in capsys.readouterr().err


def test_days_that_choose_epochs_come_before_those_that_judge(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ['data.train_days="0-1"', 'data.valid_days="2"', 'retrain.progressive="2-3"']
    assert controller.main(["--config", str(config_file), *words]) == 2
    assert "data.valid_days = '2': each must come before the days that are scored" in capsys.readouterr().err


def test_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launch.devices.local_cores", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2,5")
    assert slots(LaunchConfig(nproc_per_node=3), 24) == Slots(2, ())
    assert slots(LaunchConfig(cpus=16), 24) == Slots(1, ())
    assert slots(LaunchConfig(max_parallel=5, cpus=16), 24) == Slots(5, ())
    assert slots(LaunchConfig(gpus=1), 24) == Slots(3, ("0", "2", "5"))
    assert slots(LaunchConfig(gpus=2, max_parallel=9), 24) == Slots(1, ("0", "2", "5"))
    assert slots(LaunchConfig(scheduler="slurm", gpus=8), 24) == Slots(24, None)
    assert slots(LaunchConfig(nnodes=2, nproc_per_node=2), 24) == Slots(2, ())
    assert slots(LaunchConfig(scheduler="local_docker", nproc_per_node=3), 24) == Slots(2)
    assert slots(LaunchConfig(scheduler="local_docker", gpus=1), 24) == Slots(1)
    assert slots(LaunchConfig(scheduler="local_docker", gpus=1, max_parallel=2), 24) == Slots(2)
    with pytest.raises(LaunchError, match="one machine is one node"):
        slots(LaunchConfig(gpus=1, nnodes=2), 24)
    with pytest.raises(LaunchError, match="shows 3"):
        slots(LaunchConfig(gpus=4), 24)


def test_gpus_that_nobody_asked_for_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    assert spare_gpus(LaunchConfig()) == "jobs run on the CPU, for launch.gpus = 0; this machine shows 2 GPUs: --gpus 1 gives each job one"
    assert spare_gpus(LaunchConfig(gpus=1)) == ""
    assert spare_gpus(LaunchConfig(scheduler="slurm")) == ""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert spare_gpus(LaunchConfig()) == ""


def test_jobs_of_a_run(config_file: Path, tmp_path: Path) -> None:
    config = load_config(config_file, ["launch.nproc_per_node=2", "launch.cpus=3", "launch.gpus=2"])
    assert [job.name for job in search_jobs(config)] == ["search-day-0", "search-day-1", "search-day-2"]
    found, mlp = retrain_jobs(config)
    assert (found.name, found.is_ready, mlp.name, mlp.is_ready) == ("retrain-found", False, "retrain-mlp", True)
    assert mlp.missing == tuple(config.run_folder / "retrain/mlp" / f"seed={seed}" / "result.json" for seed in (0, 1))
    role = ddp_app(mlp, config.launch, tmp_path, {}).roles[0]
    assert (role.resource.cpu, role.resource.gpu, role.env["OMP_NUM_THREADS"]) == (6, 2, "3")
    assert role.args[1].startswith("exec python -m launch.child torchrun ")
    assert role.args[1].endswith(f"-m launch.child python -m recsys_nas.jobs.retrain {config.run_folder} --model mlp")
    assert ddp_app(mlp, config.launch, tmp_path, {"CUDA_VISIBLE_DEVICES": "4,5"}).roles[0].resource.gpu == 0


def test_random_controls_are_jobs_of_one_seed_that_wait_for_the_found_network(config_file: Path) -> None:
    config = load_config(config_file, ["retrain.random_controls=2", "retrain.seeds=[4, 5]"])
    jobs = {job.name: job for job in retrain_jobs(config)}
    assert list(jobs) == ["retrain-found", "retrain-mlp", "retrain-random-00", "retrain-random-01"]
    control = jobs["retrain-random-01"]
    assert control.missing == (config.run_folder / "retrain/random-01/seed=4/result.json",)
    assert not control.is_ready
    config.run_folder.mkdir(parents=True)
    (config.run_folder / "architecture.json").write_text("{}")
    assert control.is_ready
