"""Running forward pass, backward pass and update over batches: one after the other, or in TorchRec's pipeline, where the ids of
the next batch travel to their tables while this one computes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torchrec.distributed.train_pipeline import TrainPipelineSparseDist

from recsys_nas.training.optimizers import JobOptimizer
from recsys_nas.training.reader import Batch

Step = tuple[Batch, Tensor]
Forward = Callable[[Batch], tuple[Tensor, Step]]
"""From a batch to the loss and to what becomes of the step: the batch and its figures."""


def plain_steps(forward: Forward, optimizer: JobOptimizer, device: torch.device, batches: Iterable[Batch]) -> Iterator[Step]:
    """Train on one batch after the other."""
    for batch in batches:
        optimizer.zero_grad()
        loss, step = forward(batch.to(device))
        loss.backward()
        optimizer.step()
        yield step


def overlapped_steps(
    model: nn.Module, forward: Forward, optimizer: JobOptimizer, device: torch.device, batches: Iterable[Batch]
) -> Iterator[Step]:
    """The same steps with the same results, while the next two batches are already on their way to device and tables.

    It pays where copies and exchanges run beside computation, on GPUs; on a CPU it costs a little. The dense half may change
    its active modules from step to step: only what leads to the tables is traced.
    """
    pipeline = TrainPipelineSparseDist(model, optimizer, device, custom_model_fwd=forward)
    queue = iter(batches)
    try:
        while True:
            try:
                step: Step = pipeline.progress(queue)
            except StopIteration:
                return
            yield step
    finally:
        # The pipeline replaced the forward pass of the tables; evaluation wants the old one back.
        pipeline.detach()
