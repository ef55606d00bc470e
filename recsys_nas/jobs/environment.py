"""What every job does first and last: join its process group, find its device, keep libraries quiet, report bad input in a line."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import record

from data_prep.errors import DataError
from embeddings.errors import TableError
from recsys_nas.config import ConfigError

USER_ERROR = 2
# A rank that waits longer than this for the others is left alone: one of them hangs, or died on another host.
COLLECTIVE_TIMEOUT = timedelta(minutes=10)
# What a rank says that fails because another one did. It waits a little before it fails too, so that the launcher, which goes
# by the second, takes the other's error for the first.
_ANOTHER_RANK_FAILED = re.compile(r"Connection (closed|reset) by peer|Broken pipe|timed out|timeout", re.IGNORECASE)
_SECONDS_FOR_THE_FIRST = 3.0


@dataclass(frozen=True)
class Ranks:
    """This process among those of its job."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def of_first(self, value: float) -> float:
        """The first rank's value, on every rank, each of which must call it: what decides how a loop goes on must be the same for all."""
        told = torch.tensor(value, dtype=torch.float64)
        if self.world_size > 1:
            told = told.to(self.device)
            dist.broadcast(told, src=0)
        return float(told)


@contextmanager
def process_group(timeout: timedelta = COLLECTIVE_TIMEOUT) -> Iterator[Ranks]:
    """Join the job's process group (nccl with a GPU for every rank of this host, else gloo) for the time of the block.

    A rank that hears nothing from the others for `timeout` fails. A group that is there already, as in a user's own program,
    is used and left as it is.
    """
    _quieten_libraries()
    local_rank, local_size = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    use_gpu = torch.cuda.is_available() and torch.cuda.device_count() >= local_size
    device = torch.device("cuda", local_rank) if use_gpu else torch.device("cpu")
    if use_gpu:
        torch.cuda.set_device(device)
    if dist.is_initialized():
        yield Ranks(dist.get_rank(), dist.get_world_size(), device)
        return
    backend = "nccl" if use_gpu else "gloo"
    if "RANK" in os.environ:
        dist.init_process_group(backend, timeout=timeout)
    else:  # not under torchrun: alone
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()


def run_job(main: Callable[[], None]) -> NoReturn:
    """Run a job's main function and end the process.

    Bad input ends it with one line on stderr and exit code 2, and no rank outlives another's failure.
    """
    try:
        record(_after_the_first(main))()
    except (ConfigError, DataError, TableError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(USER_ERROR)
    # All is written and closed. To take torch apart, module by module, would keep the devices for another second.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _after_the_first(main: Callable[[], None]) -> Callable[[], None]:
    """`main`, which fails later than another rank when it fails because of that one."""

    def run() -> None:
        try:
            main()
        except (RuntimeError, OSError) as error:
            if _ANOTHER_RANK_FAILED.search(str(error)):
                time.sleep(_SECONDS_FOR_THE_FIRST)
            raise

    return run


def _quieten_libraries() -> None:
    """Advice that a user of this project can do nothing about stays out of the logs."""
    for name in ("torchrec", "torch.fx", "torch.distributed.checkpoint", "dcp_logger", "c10d-NullHandler-dcp_logger", "fbgemm_gpu"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for category in (FutureWarning, DeprecationWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category, module=r"(torch|torchrec|fbgemm_gpu|torchmetrics|tensorboard)\b.*")
