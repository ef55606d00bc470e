"""One of three processes that judge a model together: 1000, 0 and 17 rows. Prints what it sees; arguments: rank, folder."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist

from recsys_nas.training.metrics import judge, paired_difference
from recsys_nas.training.roc import Roc, all_gather


def rows_of(rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions and labels of a rank."""
    generator = torch.Generator().manual_seed(rank)
    scores = torch.rand((1000, 0, 17)[rank], generator=generator)
    return scores, torch.bernoulli(scores, generator=generator)


def main(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=3)
    scores, labels = rows_of(rank)
    judged = judge(Roc.of(scores, labels).over_ranks())
    counts = [len(part) for part in all_gather(scores.numpy())]
    print((judged, paired_difference(scores, scores.square(), labels), counts))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
