"""Jobs as data: one per day of search and one per retrained model, and how TorchX is asked to run one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torchx
from torchx.components.dist import ddp
from torchx.specs import AppDef, Resource, Role

from data_prep.shards import day_folder
from recsys_nas.config import Config, LaunchConfig, parse_days
from recsys_nas.zoo.catalogue import FOUND

SEARCH_MODULE = "recsys_nas.jobs.search_day"
RETRAIN_MODULE = "recsys_nas.jobs.retrain"


@dataclass(frozen=True)
class Job:
    """One unit of work: `module` run with `arguments`, done when the file `result` lies in each of its `folders`.

    It may start once all files in `needs` exist. Its figures are appended to `metrics`, or else to a file in its folders.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    folders: tuple[Path, ...]
    result: str
    needs: tuple[Path, ...] = ()
    metrics: Path | None = None

    @property
    def title(self) -> str:
        return self.name.replace("-", " ")

    @property
    def missing(self) -> tuple[Path, ...]:
        """The result files that are not there yet."""
        return tuple(path for folder in self.folders if not (path := folder / self.result).exists())

    @property
    def is_done(self) -> bool:
        return not self.missing

    @property
    def is_ready(self) -> bool:
        return all(path.exists() for path in self.needs)


def architecture_file(config: Config) -> Path:
    """Where aggregation leaves the architecture that the days agreed on."""
    return config.run_folder / "architecture.json"


def search_jobs(config: Config) -> tuple[Job, ...]:
    """One job per day of `data.search_days`."""
    run = config.run_folder
    return tuple(
        Job(
            name=f"search-day-{day}",
            module=SEARCH_MODULE,
            arguments=(str(run), "--day", str(day)),
            folders=(run / "days" / day_folder(day),),
            result="alphas.json",
        )
        for day in parse_days(config.data.search_days, "data.search_days")
    )


def retrain_jobs(config: Config) -> tuple[Job, ...]:
    """One job per model, all seeds in turn. Only the found architecture waits for the search."""
    run = config.run_folder
    return tuple(
        Job(
            name=f"retrain-{model}",
            module=RETRAIN_MODULE,
            arguments=(str(run), "--model", model),
            folders=tuple(run / "retrain" / model / f"seed={seed}" for seed in config.retrain.seeds),
            result="result.json",
            needs=(architecture_file(config),) if model == FOUND else (),
        )
        for model in dict.fromkeys((FOUND, *config.retrain.models))
    )


def ddp_app(job: Job, launch: LaunchConfig, logs: Path, environment: Mapping[str, str]) -> AppDef:
    """The job under torchrun, one process per rank, with all of its logs below `logs`.

    When `environment` names the job's GPUs, TorchX is not asked for any.
    """
    ranks = launch.nproc_per_node
    app = ddp(
        "python",
        "-m",
        job.module,
        *job.arguments,
        m="launch.child",
        name=job.name,
        cpu=ranks * launch.cpus,
        gpu=0 if "CUDA_VISIBLE_DEVICES" in environment else launch.gpus,
        memMB=launch.memory_mb,
        j=f"1x{ranks}",
        env={
            "OMP_NUM_THREADS": str(launch.cpus),
            "PYTHONUNBUFFERED": "1",
            "PET_LOG_DIR": str(logs.resolve() / "ranks"),
            "TORCHELASTIC_ERROR_FILE": str(logs.resolve() / "error.json"),
            **environment,
        },
    )
    role = app.roles[0]
    role.name = job.module.rpartition(".")[2]
    shell, torchrun = role.args
    role.args = [shell, f"exec python -m launch.child {torchrun}"]
    return app


def process_app(job: Job, launch: LaunchConfig, logs: Path, environment: Mapping[str, str]) -> AppDef:
    """The job as one process, without torchrun, that ends with whoever started it."""
    role = Role(
        name=job.module.rpartition(".")[2],
        image=torchx.IMAGE,
        entrypoint="python",
        args=["-m", "launch.child", "python", "-m", job.module, *job.arguments],
        env={"PYTHONUNBUFFERED": "1", **environment},
        resource=Resource(cpu=launch.cpus, gpu=0, memMB=launch.memory_mb),
    )
    return AppDef(name=job.name, roles=[role])
