"""TorchX's Slurm scheduler, whose logs lie with the run, and which knows what Slurm says about jobs it ended itself.

TorchX 0.7 writes logs named after the job's number into the working directory, or else runs the job in another one (`job_dir`), where
no relative path holds. It hands variables to `srun --export`, which loses to those that the controller has of the same name. Its table of
states lacks "CANCELLED by 1000", which is how `sacct` reports every cancelled job. It lets Slurm start a job again that lost its node,
beside the attempt that the controller starts in its place.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from torchx.runner import Runner
from torchx.schedulers import get_scheduler_factories
from torchx.schedulers.api import AppDryRunInfo, DescribeAppResponse
from torchx.schedulers.slurm_scheduler import SLURM_STATES, SlurmReplicaRequest, SlurmScheduler
from torchx.specs import AppDef, AppState, runopts

SLURM = "slurm"
# Of the parts of a job that spans nodes, the first of these that one is in speaks for all.
_FIRST_SPEAKS = (AppState.FAILED, AppState.CANCELLED, AppState.RUNNING, AppState.PENDING, AppState.SUCCEEDED)


class RunFolderSlurm(SlurmScheduler):
    """Takes the option `log_dir`, as the local scheduler does: `log_dir`/sbatch.log and `log_dir`/<replica>/{stdout,stderr}.log."""

    def _run_opts(self) -> runopts:
        options = super()._run_opts()
        options.add("log_dir", type_=str, default=None, help="dir to write stdout/stderr log files of replicas")
        return options

    def _submit_dryrun(self, app: AppDef, cfg: dict[str, Any]) -> AppDryRunInfo:
        info = super()._submit_dryrun(app, cfg)
        for replica in info.request.replicas.values():
            # Not by `srun --export`, which leaves a variable as it is that the controller has too, and takes no comma.
            settings = [f"{name}={value}" for name, value in replica.env.items()]
            replica.entrypoint, replica.args, replica.env = "env", [*settings, replica.entrypoint, *replica.args], {}
            _as_slurm_takes_it(replica)
        if log_dir := cfg.get("log_dir"):
            folder = str(Path(log_dir).resolve()).replace("%", "%%")  # which Slurm would replace
            info.request.cmd += [f"--output={folder}/sbatch.log"]
            for name, replica in info.request.replicas.items():
                replica.srun_opts["output"] = f"{folder}/{name}/stdout.log"
                replica.srun_opts["error"] = f"{folder}/{name}/stderr.log"
        return info

    def schedule(self, dryrun_info: AppDryRunInfo) -> str:
        if log_dir := dryrun_info._cfg.get("log_dir"):
            for name in dryrun_info.request.replicas:
                (Path(log_dir) / name).mkdir(parents=True, exist_ok=True)
        job: str = super().schedule(dryrun_info)
        return job

    def describe(self, app_id: str) -> DescribeAppResponse | None:
        """State and, as message, Slurm's own word for it. None while the accounting has not heard of the job yet."""
        command = ["sacct", "--parsable2", "--noheader", "--allocations", "--format=State", f"--jobs={app_id}"]
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
        found = {SLURM_STATES.get(line.split()[0], AppState.UNKNOWN): line for line in said if line.strip()}
        for state in (*_FIRST_SPEAKS, *found):
            if state in found:
                return DescribeAppResponse(app_id=app_id, state=state, msg=found[state])
        return None

    def exists(self, app_id: str) -> bool:
        """So that a job can be cancelled before the accounting has heard of it."""
        return True

    def _cancel_existing(self, app_id: str) -> None:
        subprocess.run(["scancel", "--quiet", app_id], check=False)  # which fails when the job has just ended


def _as_slurm_takes_it(replica: SlurmReplicaRequest) -> None:
    """One task a node, its GPUs and cores asked for in words that Slurm 22.05 and later take, and no retries but the controller's."""
    options = replica.sbatch_opts
    if gpus := options.pop("gpus-per-task", None):
        options["gpus-per-node"] = gpus  # gpus-per-task is refused where the number of tasks is not told, from 23.11 on
    if cores := options.get("cpus-per-task"):
        replica.srun_opts["cpus-per-task"] = cores  # which srun does not take over from sbatch, from 22.05 on
    options.pop("requeue", None)
    options["no-requeue"] = None


class CancellingRunner(Runner):
    """TorchX's asks for a job's state before it cancels, and cancels nothing where the scheduler's accounting is down or slow."""

    def cancel(self, app_handle: str) -> None:
        scheduler, _, app_id = self._scheduler_app_id(app_handle)
        scheduler.cancel(app_id)


def open_runner() -> Runner:
    """TorchX's runner with all of its schedulers, this one for Slurm."""
    factories = {**get_scheduler_factories(), SLURM: lambda session_name, **_: RunFolderSlurm(session_name)}
    return CancellingRunner("torchx", factories)
