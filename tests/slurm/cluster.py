"""A whole Slurm of one node on this machine, for tests: authentication, accounting, controller and worker, all in one folder.

Debian's packages slurm-wlm, slurmdbd, munge and mariadb-server are needed, and root, as whom every daemon runs. TorchX asks
`sacct` for the state of a job, so the accounting database has to be a real one.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = (
    "munged",
    "mariadbd",
    "mariadb-install-db",
    "slurmdbd",
    "slurmctld",
    "slurmd",
    "sacctmgr",
    "sinfo",
    "sacct",
    "sbatch",
    "scancel",
)
PATIENCE_SECONDS = 60.0


def missing_programs() -> list[str]:
    """What has to be installed before a cluster can start; "root" when this user may not start one."""
    return [name for name in PROGRAMS if shutil.which(name) is None] + (["root"] if os.geteuid() else [])


@contextmanager
def running_cluster(folder: Path, cpus: int) -> Iterator[Mapping[str, str]]:
    """Start the cluster, with one partition named `cpu`; yields the environment in which Slurm's commands find it."""
    with ExitStack() as daemons:
        munge_socket = _start_munge(folder, daemons)
        database_port = _start_database(folder, daemons)
        ports = {"ctld": _free_port(), "d": _free_port(), "dbd": _free_port()}
        _write_accounting_config(folder, munge_socket, database_port, ports["dbd"])
        _write_cluster_config(folder, munge_socket, ports, cpus)
        _write_gpus(folder)
        environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        _start(daemons, folder, ["slurmdbd", "-D"], environment)
        _wait_for(["sacctmgr", "--noheader", "list", "cluster"], environment, lambda text: True)
        _run(["sacctmgr", "--immediate", "add", "cluster", "test"], environment)
        _start(daemons, folder, ["slurmctld", "-D"], environment)
        _start(daemons, folder, ["slurmd", "-D", "-N", "localhost"], environment)
        _wait_for(["sinfo", "--noheader", "--format=%T"], environment, lambda text: "idle" in text)
        yield environment


def _start_munge(folder: Path, daemons: ExitStack) -> Path:
    """MUNGE, by which Slurm's daemons know each other; returns its socket."""
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    home = folder / "munge"
    home.mkdir(mode=0o755)
    files = [f"--{name}-file={home / name}" for name in ("pid", "log", "seed")]
    path = home / "socket"
    _start(daemons, folder, ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={path}", *files], {})
    _until(path.exists, "munged did not open its socket")
    return path


def _start_database(folder: Path, daemons: ExitStack) -> int:
    data, port = folder / "database", _free_port()
    _run(["mariadb-install-db", "--user=root", f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db"], {})
    options = [f"--datadir={data}", f"--socket={folder / 'db.socket'}", f"--port={port}", "--bind-address=127.0.0.1", "--user=root"]
    _start(daemons, folder, ["mariadbd", "--no-defaults", *options, "--innodb-lock-wait-timeout=900"], {})
    client = ["mariadb", f"--socket={folder / 'db.socket'}", "--user=root"]
    _wait_for([*client, "--execute=select 1"], {}, lambda text: True)
    account = "create database slurm; create user slurm@'%' identified by 'slurm'; grant all on slurm.* to slurm@'%'"
    _run([*client, f"--execute={account}"], {})
    return port


def _write_accounting_config(folder: Path, munge_socket: Path, database_port: int, port: int) -> None:
    _write_config(
        folder / "slurmdbd.conf",
        AuthType="auth/munge",
        AuthInfo=f"socket={munge_socket}",
        DbdHost="localhost",
        DbdPort=port,
        SlurmUser="root",
        StorageType="accounting_storage/mysql",
        StorageHost="127.0.0.1",
        StoragePort=database_port,
        StorageUser="slurm",
        StoragePass="slurm",
        StorageLoc="slurm",
        LogFile=folder / "slurmdbd.log",
        PidFile=folder / "slurmdbd.pid",
    )


def _write_cluster_config(folder: Path, munge_socket: Path, ports: Mapping[str, int], cpus: int) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    _write_config(
        folder / "slurm.conf",
        ClusterName="test",
        SlurmctldHost="localhost",
        SlurmctldPort=ports["ctld"],
        SlurmdPort=ports["d"],
        AuthType="auth/munge",
        AuthInfo=f"socket={munge_socket}",
        SlurmUser="root",
        # Neither cgroups nor an init system are to be had in a container.
        ProctrackType="proctrack/linuxproc",
        TaskPlugin="task/none",
        SelectType="select/cons_tres",
        SelectTypeParameters="CR_CPU",
        StateSaveLocation=folder / "state",
        SlurmdSpoolDir=folder / "spool",
        SlurmctldPidFile=folder / "slurmctld.pid",
        SlurmdPidFile=folder / "slurmd.pid",
        SlurmctldLogFile=folder / "slurmctld.log",
        SlurmdLogFile=folder / "slurmd.log",
        AccountingStorageType="accounting_storage/slurmdbd",
        AccountingStorageHost="localhost",
        AccountingStoragePort=ports["dbd"],
        AccountingStoragePass=munge_socket,
        JobAcctGatherType="jobacct_gather/none",
        ReturnToService=2,
        # As many jobs at once as the test wants, whatever the machine has.
        SlurmdParameters="config_overrides",
        SchedulerParameters="sched_interval=2,bf_interval=2",
        GresTypes="gpu",
        NodeName=f"localhost CPUs={cpus} RealMemory=4096 Gres=gpu:2 State=UNKNOWN",
        PartitionName="cpu Nodes=localhost Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4",
    )


def _write_gpus(folder: Path) -> None:
    """Two that are there by name only: jobs that ask for them are taken and get CUDA_VISIBLE_DEVICES."""
    (folder / "gres.conf").write_text("".join(f"Name=gpu File={device}\n" for device in ("/dev/null", "/dev/zero")))


def _write_config(path: Path, **values: object) -> None:
    path.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
    path.chmod(0o600)


def _start(daemons: ExitStack, folder: Path, command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Start a daemon in the foreground; it ends with the stack, or with this process. Its output goes beside its other files."""
    ends_with_us = [sys.executable, "-m", "launch.child", "--ask"]
    with (folder / f"{command[0]}.out").open("wb") as log:
        process = subprocess.Popen(
            [*ends_with_us, *command], env={**os.environ, **environment}, stdout=log, stderr=log, start_new_session=True
        )

    def end() -> None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    daemons.callback(end)


def _run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    result = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)}: {result.stderr or result.stdout}")
    return result.stdout


def _wait_for(command: Sequence[str], environment: Mapping[str, str], good: object) -> None:
    def answered() -> bool:
        try:
            return bool(good(_run(command, environment)))  # type: ignore[operator]
        except (RuntimeError, subprocess.TimeoutExpired):
            return False

    _until(answered, f"{' '.join(command)} had no good answer")


def _until(condition: object, otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
