"""What a node has that `launch.resource` names: jobs are launched on such nodes, and plans made for them. No torch here."""

from __future__ import annotations

from dataclasses import replace

from torchx.specs import named_resources

from recsys_nas.config import ConfigError, LaunchConfig


def with_resource(launch: LaunchConfig) -> LaunchConfig:
    """`launch` with cpus, gpus, memory_mb and, unless it is set, one process a GPU as its resource says. Raises ConfigError."""
    if not launch.resource:
        return launch
    try:
        node = named_resources[launch.resource]
    except KeyError as error:
        raise ConfigError(f"launch.resource = {launch.resource!r}: {error.args[0]}") from error
    ranks = node.gpu if node.gpu and launch.nproc_per_node == 1 else launch.nproc_per_node
    return replace(launch, nproc_per_node=ranks, cpus=max(1, int(node.cpu) // ranks), gpus=node.gpu, memory_mb=node.memMB)
