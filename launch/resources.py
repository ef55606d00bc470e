"""Named resources: what a node of a kind offers, for `launch.resource`, and for TorchX's own components (`-h`).

setup.py registers these beside TorchX's (such as aws_p5.48xlarge). Cores and memory are the least that the three large clouds
sell with such a node (AWS p5 and p4d, Azure ND H100 v5 and ND A100 v4, Google a3-highgpu-8g and a2-highgpu-8g), so that a job fits all.
"""

from __future__ import annotations

from torchx.specs import Resource

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
