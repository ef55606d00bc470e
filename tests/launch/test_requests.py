"""What Kubernetes and Docker would be asked for, field by field; no cluster and no daemon is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from launch.causes import Failure, failure
from launch.devices import Slots
from launch.jobs import Job, process_app, search_jobs
from launch.progress import Lines, Tally
from launch.queue import JobQueue
from launch.slurm import open_runner
from launch.stop import Stop
from recsys_nas.config import Config, ConfigError, LaunchConfig, load_config
from recsys_nas.named_resources import with_resource

CLUSTER = (
    'launch.image="registry.example.com/recsys-nas:1"',
    'launch.mounts=["type=volume,src=shared-claim,dst=/shared", "type=bind,src=/raw,dst=/raw,readonly"]',
    'launch.resource="8xh100"',
    "launch.nnodes=2",
    'launch.environment={NCCL_SOCKET_IFNAME = "eth0"}',
)
ENVIRONMENT = {
    "OMP_NUM_THREADS": "12",
    "PYTHONUNBUFFERED": "1",
    "NCCL_DEBUG": "WARN",
    "NCCL_SOCKET_IFNAME": "eth0",
    "LOGLEVEL": "WARNING",
    "TORCHX_TRACKING_EXPERIMENT_NAME": "default-experiment",
}


def request_of(config: Config) -> Any:
    launch = with_resource(config.launch)
    with open_runner() as runner:
        queue = JobQueue(runner, launch, Slots(1), config.run_folder / "logs", Lines(Console(), Tally(0, 1)), Stop())
        return queue.request(search_jobs(config)[0])


def command(run: Path, endpoint: str, job: str, nodes: int) -> list[str]:
    torchrun = f"torchrun --rdzv_backend c10d --rdzv_endpoint {endpoint} --rdzv_id '{job}' --nnodes {nodes} --nproc_per_node 8"
    work = f"python -m recsys_nas.jobs.search_day {run} --day 0"
    return ["bash", "-c", f"exec python -m launch.child {torchrun} --tee 3 --role '' -m launch.child {work}"]


def test_kubernetes(config_file: Path) -> None:
    config = load_config(config_file, (*CLUSTER, 'launch.scheduler="kubernetes"', 'launch.scheduler_options={queue = "research"}'))
    run, logs = config.run_folder, config.run_folder.resolve() / "logs/search-day-0/attempt=1"
    job = yaml.safe_load(str(request_of(config)))
    name = job["metadata"]["name"]
    assert (job["apiVersion"], job["kind"]) == ("batch.volcano.sh/v1alpha1", "Job")
    assert name.startswith("search-day-0-")
    spec = job["spec"]
    assert (spec["queue"], spec["schedulerName"]) == ("research", "volcano")
    assert spec["maxRetry"] == 0, "the queue of the controller tries again, and nobody else"
    assert [task["name"] for task in spec["tasks"]] == ["searchday-0", "searchday-1"]
    for node, task in enumerate(spec["tasks"]):
        assert "maxRetry" not in task
        assert (task["replicas"], task["minAvailable"]) == (1, 1), "all nodes start, or none"
        pod = task["template"]["spec"]
        assert pod["restartPolicy"] == "Never"
        (container,) = pod["containers"]
        assert container["image"] == "registry.example.com/recsys-nas:1"
        port = container["ports"][0]["containerPort"]
        assert 20_000 <= port < 30_000
        first = "TORCHX_RANK0_HOST" if node == 0 else "VC_SEARCHDAY_0_HOSTS"
        assert container["command"] == command(run, f"${{{first}:=localhost}}:{port}", name, 2)
        assert {entry["name"]: entry["value"] for entry in container["env"]} == {
            **ENVIRONMENT,
            "PET_LOG_DIR": str(logs / "ranks"),
            "TORCHELASTIC_ERROR_FILE": str(logs / "error.json"),
            "TORCHX_JOB_ID": f"kubernetes://torchx/{name}",
            **({"TORCHX_RANK0_HOST": "localhost"} if node == 0 else {}),
        }
        # TorchX asks for a little less than the node, of which Kubernetes keeps some for itself.
        assert container["resources"] == {
            "limits": {"cpu": "96000m", "memory": "1843200M", "nvidia.com/gpu": "8"},
            "requests": {"cpu": "95900m", "memory": "1842176M", "nvidia.com/gpu": "8"},
        }
        assert pod["volumes"] == [
            {"name": "dshm", "emptyDir": {"medium": "Memory"}},
            {"name": "mount-0", "persistentVolumeClaim": {"claimName": "shared-claim"}},
            {"name": "mount-1", "hostPath": {"path": "/raw"}},
        ]
        assert container["volumeMounts"] == [
            {"name": "dshm", "mountPath": "/dev/shm"},
            {"name": "mount-0", "mountPath": "/shared", "readOnly": False},
            {"name": "mount-1", "mountPath": "/raw", "readOnly": True},
        ]


def test_docker(config_file: Path) -> None:
    config = load_config(config_file, (*CLUSTER, "launch.nnodes=1", 'launch.scheduler="local_docker"'))
    run, logs = config.run_folder, config.run_folder.resolve() / "logs/search-day-0/attempt=1"
    asked = request_of(config).request
    (container,) = asked.containers
    assert container.image == "registry.example.com/recsys-nas:1"
    assert container.command == command(run, "localhost:0", asked.app_id, 1)
    options = container.kwargs
    assert options["environment"] == {
        **ENVIRONMENT,
        "PET_LOG_DIR": str(logs / "ranks"),
        "TORCHELASTIC_ERROR_FILE": str(logs / "error.json"),
        "TORCHX_JOB_ID": f"local_docker://torchx/{asked.app_id}",
        "TORCHX_RANK0_HOST": options["name"],
    }
    assert (options["nano_cpus"], options["mem_limit"], options["shm_size"]) == (96 * 10**9, "1843200m", "1843200m")
    assert [dict(device)["Count"] for device in options["device_requests"]] == [8]
    assert [(mount["Type"], mount["Source"], mount["Target"], mount["ReadOnly"]) for mount in options["mounts"]] == [
        ("volume", "shared-claim", "/shared", False),
        ("bind", "/raw", "/raw", True),
    ]
    assert "restart_policy" not in options


@pytest.mark.parametrize(
    ("name", "nproc", "expected"),
    [
        ("", 1, (1, 1, 0, 4096)),
        ("8xh100", 1, (8, 12, 8, 1800 * 1024)),
        ("8xa100", 4, (4, 24, 8, 640 * 1024)),
        ("1xgpu", 1, (1, 12, 1, 80 * 1024)),
        ("cpu_small", 2, (2, 2, 0, 16 * 1024)),
        ("cpu.xlarge", 1, (1, 8, 0, 32 * 1024)),
    ],
)
def test_named_resources(name: str, nproc: int, expected: tuple[int, ...]) -> None:
    """Ours and TorchX's: one process a GPU unless said otherwise, and the node's cores shared among the processes."""
    launch = with_resource(LaunchConfig(resource=name, nproc_per_node=nproc))
    assert (launch.nproc_per_node, launch.cpus, launch.gpus, launch.memory_mb) == expected


def test_a_resource_that_nobody_has_registered() -> None:
    with pytest.raises(ConfigError, match=r"'8xh200': No named resource found for `8xh200`\. Did you mean `8xh100`"):
        with_resource(LaunchConfig(resource="8xh200"))


def test_a_preparation_in_a_container_leaves_its_last_words(tmp_path: Path) -> None:
    """Its cause of failure is read there, as that of a job with ranks is."""
    words = ("-c", "import sys; sys.exit('error: no such column')")
    job = Job("count-day-0", "module", (), (tmp_path,), "counts.json")
    (role,) = process_app(job, LaunchConfig(scheduler="kubernetes", image="i"), tmp_path, {}).roles
    place = role.args.index("module") - 1
    ended = subprocess.run([sys.executable, *role.args[:place], *words], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, "error: no such column\n")
    assert failure(tmp_path, "FAILED") == Failure("no such column", user_error=True)
