"""Jobs as data: one per day of search and one per retrained model, and how TorchX is asked to run one."""

from __future__ import annotations

import os
import socket
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torchx
from torchx.components.dist import ddp
from torchx.specs import AppDef, Resource, Role, parse_mounts

from launch.causes import STDERR_LOG
from launch.child import PARENT
from recsys_nas.config import Config, LaunchConfig, parse_days
from recsys_nas.search.day_results import searched_in
from recsys_nas.zoo.catalogue import FOUND

SEARCH_MODULE = "recsys_nas.jobs.search_day"
RETRAIN_MODULE = "recsys_nas.jobs.retrain"
LOCAL, DOCKER = "local_cwd", "local_docker"
CONTAINERS = ("kubernetes", DOCKER)


@dataclass(frozen=True)
class Job:
    """One unit of work: `module` run with `arguments`, done when the file `result` lies in each of its `folders`, or when
    `used_up` exists, which is made from these results before they are removed.

    It may start once all files in `needs` exist. Its figures are appended to `metrics`, or else to a file in its folders.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    folders: tuple[Path, ...]
    result: str
    needs: tuple[Path, ...] = ()
    metrics: Path | None = None
    used_up: Path | None = None

    @property
    def title(self) -> str:
        return self.name.replace("-", " ")

    @property
    def missing(self) -> tuple[Path, ...]:
        """The result files that are not there yet."""
        return tuple(path for folder in self.folders if not (path := folder / self.result).exists())

    @property
    def is_done(self) -> bool:
        return not self.missing or (self.used_up is not None and self.used_up.exists())

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
            folders=(searched_in(run, day),),
            result=config.search.day_result,
        )
        for day in parse_days(config.data.search_days, "data.search_days")
    )


def retrain_jobs(config: Config) -> tuple[Job, ...]:
    """One job per model, all seeds in turn, and one per random control, of the first seed. The found architecture and the controls,
    which are drawn at its cost, wait for the search."""
    run, retrain = config.run_folder, config.retrain
    seeds = dict.fromkeys((FOUND, *retrain.models), retrain.seeds) | dict.fromkeys(retrain.controls, retrain.seeds[:1])
    return tuple(
        Job(
            name=f"retrain-{model}",
            module=RETRAIN_MODULE,
            arguments=(str(run), "--model", model),
            folders=tuple(run / "retrain" / model / f"seed={seed}" for seed in seeds[model]),
            result="result.json",
            needs=(architecture_file(config),) if model in (FOUND, *retrain.controls) else (),
        )
        for model in seeds
    )


def ddp_app(job: Job, launch: LaunchConfig, logs: Path, environment: Mapping[str, str]) -> AppDef:
    """The job under torchrun, one process per rank and an agent on each node, with all of its logs below `logs`.

    When `environment` names the job's GPUs, TorchX is not asked for any.
    """
    app = ddp(
        "python",
        "-m",
        job.module,
        *job.arguments,
        m="launch.child",
        name=job.name,
        image=launch.image or torchx.IMAGE,
        h=launch.resource or None,
        cpu=launch.nproc_per_node * launch.cpus,
        gpu=launch.gpus,
        memMB=launch.memory_mb,
        j=f"{launch.nnodes}x{launch.nproc_per_node}",
        rdzv_port=_meeting_port(job, launch),
        mounts=_mount_options(launch),
        env={
            "OMP_NUM_THREADS": str(launch.cpus),
            "PET_LOG_DIR": str(logs.resolve() / "ranks"),
            "TORCHELASTIC_ERROR_FILE": str(logs.resolve() / "error.json"),
            **_network(launch),
            **_given(launch, environment),
        },
    )
    role = app.roles[0]
    role.name = job.module.rpartition(".")[2]
    if "CUDA_VISIBLE_DEVICES" in environment:
        role.resource = replace(role.resource, gpu=0)
    shell, torchrun = role.args
    role.args = [shell, f"exec python -m launch.child {torchrun}"]
    return app


def process_app(job: Job, launch: LaunchConfig, logs: Path, environment: Mapping[str, str]) -> AppDef:
    """The job as one process, without torchrun, that ends with whoever started it, and whose last words are in `logs`."""
    command = ["python", "-m", job.module, *job.arguments]
    if (
        launch.scheduler in CONTAINERS
    ):  # TorchX leaves output in them; bash is there to wait for tee, which would end with the container's first process
        command = ["bash", "-c", '"$@" 2> >(tee "$0" >&2); code=$?; wait $!; exit $code', str(logs.resolve() / STDERR_LOG), *command]
    role = Role(
        name=job.module.rpartition(".")[2],
        image=launch.image or torchx.IMAGE,
        entrypoint="python",
        args=["-m", "launch.child", *command],
        env=_given(launch, environment),
        resource=Resource(cpu=launch.cpus, gpu=0, memMB=launch.memory_mb),
        mounts=parse_mounts(_mount_options(launch)),
    )
    return AppDef(name=job.name, roles=[role])


def _given(launch: LaunchConfig, environment: Mapping[str, str]) -> dict[str, str]:
    parent = {PARENT: str(os.getpid())} if launch.scheduler == LOCAL else {}
    return {"PYTHONUNBUFFERED": "1", **parent, **environment, **launch.environment}


def _network(launch: LaunchConfig) -> dict[str, str]:
    """How ranks talk to each other, unless `launch.environment` says otherwise; docs/launch.md tells more."""
    nccl = {"NCCL_DEBUG": "WARN"} if launch.gpus else {}
    # Agents that share a machine need no network, whatever its host name resolves to.
    loopback = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"} if launch.nnodes > 1 and launch.scheduler == LOCAL else {}
    return nccl | loopback


def _mount_options(launch: LaunchConfig) -> list[str]:
    return [option for mount in launch.mounts for option in mount.split(",")]


def _meeting_port(job: Job, launch: LaunchConfig) -> int:
    """Where the nodes of a job meet: jobs that share a host must not meet each other. Below the ports that hosts hand out themselves."""
    if launch.scheduler == LOCAL:
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            return int(probe.getsockname()[1])
    return 20_000 + zlib.crc32(repr((job.folders, job.name)).encode()) % 10_000
