"""Named resources: what a node of a kind offers, for `launch.resource`, and for TorchX's own components (`-h`).

setup.py registers these beside TorchX's (such as aws_p5.48xlarge). Cores and memory are the least that the three large clouds
sell with such a node (AWS p5 and p4d, Azure ND H100 v5 and ND A100 v4, Google a3-highgpu-8g and a2-highgpu-8g), so that a job fits all.
"""

from __future__ import annotations

from dataclasses import replace

from torchx.specs import Resource, named_resources

from launch.errors import LaunchError
from recsys_nas.config import LaunchConfig

GIB = 1024


def node_8xh100() -> Resource:
    return Resource(cpu=96, gpu=8, memMB=1800 * GIB)


def node_8xa100() -> Resource:
    return Resource(cpu=96, gpu=8, memMB=640 * GIB)


def one_gpu() -> Resource:
    """An eighth of a node with eight."""
    return Resource(cpu=12, gpu=1, memMB=80 * GIB)


def cpu_small() -> Resource:
    return Resource(cpu=4, gpu=0, memMB=16 * GIB)


def with_resource(launch: LaunchConfig) -> LaunchConfig:
    """`launch` with cpus, gpus, memory_mb and, unless it is set, one process a GPU as its resource says. Raises LaunchError."""
    if not launch.resource:
        return launch
    try:
        node = named_resources[launch.resource]
    except KeyError as error:
        raise LaunchError(f"launch.resource = {launch.resource!r}: {error.args[0]}") from error
    ranks = node.gpu if node.gpu and launch.nproc_per_node == 1 else launch.nproc_per_node
    return replace(launch, nproc_per_node=ranks, cpus=max(1, int(node.cpu) // ranks), gpus=node.gpu, memory_mb=node.memMB)
