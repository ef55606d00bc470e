"""The pipelines that benchmarks/data_prep.py compares, each run as a process of its own that prints its rows, bytes and seconds.

Compiling, imports and the start of the interpreter are left out of the time; starting our worker processes is not.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import cores

BUCKETS, PART_ROWS = 10_000, 1 << 19
DENSE, SPARSE = [f"I{n}" for n in range(1, 14)], [f"C{n}" for n in range(1, 27)]
BLOCK_BYTES = 1 << 22


def ours(pattern: str, out: Path, workers: int) -> int:
    """`data-prep run`: parse, transform, hash, write, sha256, fsync, manifest."""
    from data_prep.criteo_tsv import compile_parser
    from data_prep.inputs import find_logs
    from data_prep.options import PrepareOptions
    from data_prep.prepare import prepare
    from data_prep.schema import criteo_schema

    options = PrepareOptions(criteo_schema(BUCKETS), BUCKETS, PART_ROWS, max_bad_share=0.0)
    compile_parser()
    start_clock()
    manifest, _ = prepare(out, options.format.days(find_logs([pattern]), out, workers), options, workers)
    return sum(day.rows for day in manifest.days)


def torchrec(pattern: str, out: Path) -> int:
    """TorchRec's converter: no hashing to table sizes, no checksums."""
    import numpy as np
    from torchrec.datasets.criteo import BinaryCriteoUtils

    out.mkdir()
    files = [str(out / f"{name}.npy") for name in ("dense", "sparse", "labels")]
    start_clock()
    BinaryCriteoUtils.tsv_to_npys(pattern, *files)
    return len(np.load(files[0], mmap_mode="r"))


def polars(pattern: str, out: Path) -> int:
    """The same arrays by polars' streaming engine, part by part: no checks of cells, no checksums, no fsync."""
    os.environ["POLARS_MAX_THREADS"] = str(len(cores()))
    import numpy as np
    import polars as pl

    schema = {"label": pl.Int32, **dict.fromkeys(DENSE, pl.Int64), **dict.fromkeys(SPARSE, pl.String)}
    rows = pl.scan_csv(pattern, separator="\t", has_header=False, schema=schema, quote_char=None)
    dense = [pl.col(name).fill_null(0).clip(lower_bound=0).cast(pl.Float32).log1p() for name in DENSE]
    keys = [pl.col(name).str.to_integer(base=16, dtype=pl.UInt32) for name in SPARSE]
    ids = [(key % (BUCKETS - 1) + 1).fill_null(0).cast(pl.Int32) for key in keys]
    out.mkdir()
    start_clock()
    done = 0
    for number, part in enumerate(rows.select("label", *dense, *ids).collect_batches(chunk_size=PART_ROWS, maintain_order=True)):
        for name, columns in (("dense", DENSE), ("sparse", SPARSE), ("label", ["label"])):
            np.save(out / f"part-{number:05d}.{name}.npy", part.select(columns).to_numpy(order="c"))
        done += part.height
    return done


def decompress(pattern: str, out: Path) -> int:
    """The decompressor alone, as fast as it goes, its output dropped; the unit is bytes of text, not rows."""
    from data_prep.decompress import _decompressed

    path = Path(pattern)
    with path.open("rb") as file:
        stream, _ = _decompressed(path.suffix, file)
        start_clock()
        return sum(map(len, iter(partial(stream.read, BLOCK_BYTES), b"")))


CASES: dict[str, Callable[[str, Path], int]] = {
    "ours_one": partial(ours, workers=1),
    "ours_all": lambda pattern, out: ours(pattern, out, workers=len(cores())),
    "torchrec": torchrec,
    "polars": polars,
    "decompress": decompress,
}

_started = 0.0


def start_clock() -> None:
    global _started  # noqa: PLW0603 - one case a process
    _started = time.perf_counter()


def main() -> None:
    """CASE CORES PATTERN OUT: runs a case on the first CORES cores."""
    case, count, pattern, folder = sys.argv[1:]
    os.sched_setaffinity(0, cores()[: int(count)])
    out = Path(folder)
    shutil.rmtree(out, ignore_errors=True)
    os.sync()  # what the case before has left to be written must not slow those that flush their files
    rows = CASES[case](pattern, out)
    seconds = time.perf_counter() - _started
    shutil.rmtree(out, ignore_errors=True)
    print(json.dumps({"rows": rows, "seconds": seconds}))


if __name__ == "__main__":
    main()
