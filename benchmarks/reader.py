"""How fast do training batches come from shards? Ours against TorchRec's InMemoryBinaryCriteoIterDataPipe, in one run.

    python benchmarks/reader.py --json OUT [--rows N] [--repeats N]

Both read the same parts, of random numbers in Criteo's shape (13 dense, 26 sparse columns), at batch 8192, on one core, torch on one
thread, from the page cache. Each case is a process of its own, run in turn; the figures are medians. TorchRec's datapipe
also runs memory-mapped, the way that holds no data either.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import cores, machine, measure_in_turn, middle, peak_mb, rates
from data_prep.atomic import write_json
from data_prep.part_files import write_part
from data_prep.schema import criteo_schema
from data_prep.shards import DayEntry, Manifest, empty_part, open_manifest, write_manifest

BATCH_SIZE, BUCKETS, TABLE_ROWS, PART_ROWS = 8192, 10_000, 3_000, 1 << 19
PASSES = 2
OURS: dict[str, dict[str, Any]] = {
    "ours": {},
    "ours_shuffled": {"shuffle_seed": 1},
    "ours_prefetch": {"prefetch": 2},
    "ours_wrapped_ids": {"table_rows": [TABLE_ROWS] * 26},
}
PEERS: dict[str, dict[str, Any]] = {"torchrec": {}, "torchrec_shuffled": {"shuffle_batches": True}, "torchrec_mapped": {"mmap_mode": True}}
VERSIONS = ("torch", "torchrec", "numpy")


def write_shards(root: Path, rows: int) -> None:
    """One day of random rows."""
    import numpy as np

    generator, schema, parts = np.random.default_rng(0), criteo_schema(BUCKETS), []
    for number, first in enumerate(range(0, rows, PART_ROWS)):
        part = empty_part(schema, min(PART_ROWS, rows - first))
        generator.random(out=part.dense, dtype=np.float32)
        part.sparse[:] = generator.integers(0, BUCKETS, part.sparse.shape, np.int32)
        part.label[:] = generator.integers(0, 2, part.label.shape, np.int32)
        path = f"day=00/part-{number:05d}"
        parts.append(write_part(root / path, path, part))
    write_manifest(root, Manifest(schema, {}, (DayEntry(0, rows, sum(part.positives for part in parts), tuple(parts)),)))


def batches_of(case: str, root: Path) -> Iterable[Any]:
    manifest = open_manifest(root)
    if case in OURS:
        from recsys_nas.training.reader import ReaderOptions, ShardReader

        options: dict[str, Any] = {"batch_size": BATCH_SIZE, "table_rows": [BUCKETS] * 26} | OURS[case]
        return ShardReader(root, manifest, [0], ReaderOptions(**options))
    from torchrec.datasets.criteo import InMemoryBinaryCriteoIterDataPipe

    paths = [[str(root / part.path / f"{name}.npy") for part in manifest.days[0].parts] for name in ("dense", "sparse", "label")]
    return InMemoryBinaryCriteoIterDataPipe("train", *paths, batch_size=BATCH_SIZE, rank=0, world_size=1, drop_last=False, **PEERS[case])


def run_case(case: str, root: Path) -> None:
    """Two passes over the day; the second is timed."""
    os.sched_setaffinity(0, cores()[:1])
    import torch

    torch.set_num_threads(1)
    batches = batches_of(case, root)
    for _ in range(PASSES):
        start, rows = time.perf_counter(), 0
        for batch in batches:
            rows += len(batch.labels)
        seconds = time.perf_counter() - start
    print(json.dumps({"rows": rows, "seconds": seconds}))


def summary(rows: int, root: Path, repeats: int) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).resolve()), "--folder", str(root), "--case"]
    samples = measure_in_turn({case: [*command, case] for case in (*OURS, *PEERS)}, repeats)
    figures = {
        case: {
            "rows_per_s": round(middle(taken)),
            "rows_per_s_all": [round(rate) for rate in rates(taken)],
            "peak_rss_mb": peak_mb(taken),
            "peak_private_mb": peak_mb(taken, "private"),
        }
        for case, taken in samples.items()
    }
    return {
        "rows_per_s": figures["ours"]["rows_per_s"],
        "rows_per_s_shuffled": figures["ours_shuffled"]["rows_per_s"],
        "vs_torchrec": round(middle(samples["ours"]) / middle(samples["torchrec"]), 2),
        "vs_torchrec_shuffled": round(middle(samples["ours_shuffled"]) / middle(samples["torchrec_shuffled"]), 2),
        "peak_private_mb": figures["ours"]["peak_private_mb"],
        "peak_private_mb_torchrec": figures["torchrec"]["peak_private_mb"],
        "rows": rows,
        "batch_size": BATCH_SIZE,
        "cases": figures,
    }


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--rows", type=int, default=1 << 22, help="about 160 bytes each, on disk and in TorchRec's memory")
    ask.add_argument("--repeats", type=int, default=5)
    ask.add_argument("--json", type=Path, help="where to write the figures")
    ask.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    ask.add_argument("--case", choices=[*OURS, *PEERS], help=argparse.SUPPRESS)
    arguments = ask.parse_args()
    if arguments.case:
        run_case(arguments.case, arguments.folder)
        return
    where = machine(VERSIONS)
    with tempfile.TemporaryDirectory() as folder:
        write_shards(Path(folder), arguments.rows)
        figures = summary(arguments.rows, Path(folder), arguments.repeats) | {"machine": where}
    print(json.dumps(figures, indent=2))
    if arguments.json:
        write_json(arguments.json, figures)


if __name__ == "__main__":
    main()
