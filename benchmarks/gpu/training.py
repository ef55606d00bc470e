"""Training speed on GPUs: our loop against a bare TorchRec script, plain and in TorchRec's pipeline, memory, and waiting for data.

    python benchmarks/gpu/training.py --json OUT [--ranks N] [--batch 32768] [--table-rows 4000000]
    python benchmarks/gpu/training.py --json OUT --device cpu --batch 64 --table-rows 1000 --steps 3 --repeats 1    # does it run at all

One process a GPU (nccl). Data in memory for the comparison; then our loop once more from memory-mapped shards, for the share
of its time that it waits for a batch (`waiting_for_data`). `hbm_gb`: the most that torch's allocator held, both models together.

Not run on a GPU yet: none could be had when this was written; on a CPU it runs, in gloo, and that is what its test does.

Anchors for one-hot DLRM-like models, both with settings of their own, so no more than an order of magnitude:

- 0.74 M rows/s on one A100 of 40 GB, batch 16,384, dim 128, 91 GiB of tables: TorchRec's one-hot DLRM on Criteo 1TB,
  github.com/facebookresearch/dlrm, torchrec_dlrm/README.MD ("Preliminary Training Results").
- 1.89 M samples/s on one H200: an eighth of an 8-GPU node of MLPerf Training's DLRM-DCNv2 (multi-hot), from its
  published results (mlcommons.org/benchmarks/training); taken over from our notes, not looked up again.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from benchmarks.dlrm_loops import InMemoryReader, Sizes, TimedReader, bare_torchrec, our_loop, write_run
from benchmarks.measuring import machine
from benchmarks.training import rows_per_second
from data_prep.atomic import write_json
from recsys_nas.jobs.environment import Ranks, process_group

ANCHORS = {"torchrec_dlrm_one_a100": 0.74e6, "mlperf_dlrm_dcnv2_per_h200": 1.89e6}


def compare(folder: Path, sizes: Sizes, repeats: int, ranks: Ranks) -> dict[str, Any]:
    """Both loops in turn over data in memory, after one run each that warms up."""
    ours, reader = our_loop(folder, sizes, ranks, InMemoryReader)
    loops = {"ours": ours, "bare_torchrec": bare_torchrec(sizes, ranks, reader.batches)}
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(repeats + 1):
        for name in list(loops)[:: 1 if turn % 2 else -1]:
            rate = rows_per_second(sizes, ranks, loops[name])
            if turn:
                rates[name].append(rate)
    medians = {name: median(values) for name, values in rates.items()}
    return {"rows_per_second": rates, "medians": medians, "vs_bare_torchrec": medians["ours"] / medians["bare_torchrec"]}


def from_shards(folder: Path, sizes: Sizes, ranks: Ranks) -> dict[str, Any]:
    """Our loop from memory-mapped shards: rows a second, and the share of the time that it waits for data."""
    loop, reader = our_loop(folder, sizes, ranks, TimedReader)
    loop()
    reader.waited = 0.0
    seconds = loop()
    return {"rows_per_second": sizes.batch * ranks.world_size * sizes.steps / seconds, "waiting_for_data": reader.waited / seconds}


def measure(folder: Path, sizes: Sizes, repeats: int) -> dict[str, Any]:
    with process_group() as ranks:
        on_gpu = ranks.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        found: dict[str, Any] = {
            "device": torch.cuda.get_device_name() if on_gpu else "cpu",
            "in_memory": compare(folder, sizes, repeats, ranks),
        }
        found["from_shards"] = from_shards(folder, sizes, ranks)
        found["hbm_gb"] = torch.cuda.max_memory_allocated() / 1e9 if on_gpu else None
        return found


def _rank(rank: int, port: int, folder: Path, sizes: Sizes, arguments: argparse.Namespace) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": str(arguments.ranks)}
    os.environ |= {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(arguments.ranks)}
    if arguments.device == "cpu":
        torch.set_num_threads(1)
    found = measure(folder, sizes, arguments.repeats)
    if rank == 0:
        write_json(folder / "found.json", found)


def in_processes(sizes: Sizes, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure in one process a rank, and print what was found."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_run(folder, sizes, arguments.ranks)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        torch.multiprocessing.spawn(_rank, args=(port, folder, sizes, arguments), nprocs=arguments.ranks)
        found: dict[str, Any] = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    medians, shards, memory = found["in_memory"]["medians"], found["from_shards"], found["hbm_gb"]
    print(
        f"{found['device']}, {arguments.ranks} ranks, pipeline {sizes.pipeline}: ours {medians['ours']:,.0f} rows/s, "
        f"bare TorchRec {medians['bare_torchrec']:,.0f}: {found['in_memory']['vs_bare_torchrec']:.3f}; "
        f"from shards {shards['rows_per_second']:,.0f} rows/s, waiting {shards['waiting_for_data']:.1%} of the time; "
        f"HBM {'-' if memory is None else f'{memory:.1f} GB'}",
        flush=True,
    )
    return found


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--json", type=Path, required=True, help="where to write the figures")
    ask.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    ask.add_argument("--ranks", type=int, default=1)
    ask.add_argument("--repeats", type=int, default=7)
    ask.add_argument("--batch", type=int, default=32768, help="rows of one rank's step")
    ask.add_argument("--table-rows", type=int, default=4_000_000)
    ask.add_argument("--dim", type=int, default=64)
    ask.add_argument("--steps", type=int, default=100, help="of one timed run")
    arguments = ask.parse_args()
    if arguments.device == "cuda" and torch.cuda.device_count() < arguments.ranks:
        sys.exit(
            f"error: {arguments.ranks} GPUs are wanted and {torch.cuda.device_count()} seen; --ranks fewer, or --device cpu for a trial"
        )
    if arguments.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    about = machine(("torch", "torchrec", "fbgemm-gpu", "fbgemm-gpu-cpu", "numpy"))
    sizes = Sizes(arguments.batch, arguments.table_rows, arguments.dim, arguments.steps)
    results = {pipeline: in_processes(replace(sizes, pipeline=pipeline), arguments) for pipeline in ("off", "on")}
    write_json(
        arguments.json, {"machine": about, "sizes": asdict(sizes), "ranks": arguments.ranks, "pipeline": results, "anchors": ANCHORS}
    )


if __name__ == "__main__":
    main()
