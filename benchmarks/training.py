"""Does our training loop cost anything? The zoo's DLRM through it, against a bare TorchRec script of the same model.

    python benchmarks/training.py --json OUT [--world-sizes 1 2] [--repeats 7] [--profile]

Data in memory, gloo on the CPU, one thread a rank. Both loops live in the same processes and are timed in turn, `repeats`
times after one run that warms up, so what slows the machine down slows both. `vs_bare_torchrec`: the median of our rows a second
over the median of the bare script's, by number of ranks; 0.95 is wanted. Take a quiet machine with a core for each rank.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import socket
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.dlrm_loops import InMemoryReader, Loop, Sizes, bare_torchrec, our_loop, write_run
from benchmarks.measuring import machine
from data_prep.atomic import write_json
from recsys_nas.jobs.environment import Ranks, process_group

WANTED = 0.95


def rows_per_second(sizes: Sizes, ranks: Ranks, loop: Loop) -> float:
    """Of all ranks together: the slowest rank's time counts."""
    torch.distributed.barrier()
    seconds = torch.tensor([loop()], device=ranks.device)
    torch.distributed.all_reduce(seconds, torch.distributed.ReduceOp.MAX)
    return sizes.batch * ranks.world_size * sizes.steps / float(seconds)


def measure(folder: Path, sizes: Sizes, repeats: int, profile: bool) -> dict[str, list[float]]:
    """Rows a second of both loops, turn by turn, on every rank alike."""
    with process_group() as ranks:
        ours, reader = our_loop(folder, sizes, ranks, InMemoryReader)
        loops = {"ours": ours, "bare_torchrec": bare_torchrec(sizes, ranks, reader.batches)}
        rates: dict[str, list[float]] = {name: [] for name in loops}
        for turn in range(repeats + 1):
            for name in list(loops)[:: 1 if turn % 2 else -1]:
                rate = rows_per_second(sizes, ranks, loops[name])
                if turn:  # the first one warms up
                    rates[name].append(rate)
        if profile and ranks.is_first:
            print_profile(ours)
        elif profile:
            ours()
        return rates


def print_profile(loop: Loop) -> None:
    """Where our loop spends its Python time."""
    profiler = cProfile.Profile()
    profiler.runcall(loop)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


def _rank(rank: int, world_size: int, port: int, folder: Path, arguments: argparse.Namespace) -> None:
    """What one process does: it joins the group, measures, and the first writes the rates down."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": str(world_size)}
    os.environ |= {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(world_size)}
    torch.set_num_threads(1)
    rates = measure(folder, sizes_of(arguments), arguments.repeats, arguments.profile)
    if rank == 0:
        write_json(folder / "rates.json", rates)


def by_world_size(world_size: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Both loops on so many ranks, in processes of their own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_run(folder, sizes_of(arguments), world_size)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        torch.multiprocessing.spawn(_rank, args=(world_size, port, folder, arguments), nprocs=world_size)
        rates = json.loads((folder / "rates.json").read_text(encoding="utf-8"))
    medians = {name: median(values) for name, values in rates.items()}
    ratio = medians["ours"] / medians["bare_torchrec"]
    print(f"{world_size} ranks: ours {medians['ours']:,.0f} rows/s, bare TorchRec {medians['bare_torchrec']:,.0f}: {ratio:.3f}", flush=True)
    return {"world_size": world_size, "rows_per_second": rates, "medians": medians, "vs_bare_torchrec": ratio}


def sizes_of(arguments: argparse.Namespace) -> Sizes:
    return Sizes(batch=arguments.batch, table_rows=arguments.table_rows, dim=arguments.dim, steps=arguments.steps)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--json", type=Path, required=True, help="where to write the figures")
    ask.add_argument("--world-sizes", type=int, nargs="+", default=[1, 2])
    ask.add_argument("--repeats", type=int, default=7)
    ask.add_argument("--batch", type=int, default=Sizes.batch, help="rows of one rank's step")
    ask.add_argument("--table-rows", type=int, default=Sizes.table_rows)
    ask.add_argument("--dim", type=int, default=Sizes.dim)
    ask.add_argument("--steps", type=int, default=Sizes.steps, help="of one timed run")
    ask.add_argument("--profile", action="store_true", help="print where our loop's time goes, after the measurement")
    arguments = ask.parse_args()
    about = machine(("torch", "torchrec", "fbgemm-gpu-cpu", "fbgemm-gpu", "numpy"))
    results = [by_world_size(world_size, arguments) for world_size in arguments.world_sizes]
    ratios = {str(result["world_size"]): result["vs_bare_torchrec"] for result in results}
    record = {"machine": about, "sizes": asdict(sizes_of(arguments)), "threads_per_rank": 1, "results": results}
    write_json(arguments.json, record | {"vs_bare_torchrec": ratios, "wanted": WANTED})


if __name__ == "__main__":
    main()
