"""How fast do tables become shards, and in how much memory? CSV, gzip and Parquet, with the day in the name and in a column.

    python benchmarks/tables.py --json OUT [--rows N] [--repeats N]

One made-up table of 16 columns: label, time, 4 numbers, 4 integer and 5 text columns, a sequence of up to 20 items. One worker
on one core; each case is a process of its own, run in turn, once on N rows and once on a fourth of them; rates are medians, the
time of starting up, writing and hashing the shards included.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pyarrow as pa
import pyarrow.compute as pa_compute
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from benchmarks.measuring import Sample, cores, machine, measure_in_turn, middle, peak_mb, rates
from data_prep.atomic import write_json

SCHEMA = """
label = "y"
dense = ["d0", "d1", "d2", "d3"]

[sparse]
i0 = { type = "integer" }
i1 = { type = "integer" }
i2 = { type = "integer" }
i3 = { type = "integer" }
s0 = {}
s1 = {}
s2 = {}
s3 = {}
s4 = {}

[sequence]
history = { max_length = 20, type = "integer" }
"""
DAY_COLUMN = '\n[day]\ncolumn = "time"\nformat = "seconds"\nfirst = 2024-03-01\n'
DAYS, BATCH = 7, 1 << 17
SECOND_OF_FIRST, SECONDS_A_DAY = 1709251200, 86400


def batch(rows: int, seed: int) -> pa.Table:
    """Rows of the made-up table in random order of time."""
    random = np.random.Generator(np.random.Philox([7, seed]))
    ids = {f"i{column}": random.zipf(1.2, rows).astype(np.int64) % 10_000_000 for column in range(4)}
    texts = {f"s{column}": pa_compute.binary_join_element_wise("id", random.zipf(1.3, rows).astype(str), "-") for column in range(5)}
    lengths = random.integers(0, 21, rows)
    history = pa.ListArray.from_arrays(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32), random.zipf(1.2, lengths.sum()) % 100_000
    )
    numbers = {f"d{column}": np.round(random.lognormal(2, 2, rows), 2) for column in range(4)}
    fixed = {"y": random.integers(0, 2, rows), "time": SECOND_OF_FIRST + random.integers(0, DAYS * SECONDS_A_DAY, rows)}
    return pa.table({**fixed, **numbers, **ids, **texts, "history": history})


def write_table(folder: Path, rows: int) -> None:
    """The same rows as CSV, as gzip, and as Parquet."""
    paths = [folder / name for name in ("day_0.csv", "day_0.csv.gz", "day_0.parquet")]
    first = batch(1, 0)
    flat = as_csv(first).schema
    with (
        pa_csv.CSVWriter(paths[0], flat) as plain,
        pa.CompressedOutputStream(paths[1], "gzip") as packed,
        pa_csv.CSVWriter(packed, flat) as zipped,
        pa_parquet.ParquetWriter(paths[2], first.schema) as parquet,
    ):
        for number, start in enumerate(range(0, rows, BATCH)):
            table = batch(min(BATCH, rows - start), number)
            plain.write_table(as_csv(table))
            zipped.write_table(as_csv(table))
            parquet.write_table(table)


def as_csv(table: pa.Table) -> pa.Table:
    lists = table["history"].combine_chunks()
    joined = pa_compute.binary_join(lists.cast(pa.list_(pa.string())), "|")
    return table.set_column(table.schema.get_field_index("history"), "history", joined)


def run_case(log: Path, schema: Path) -> None:
    """In a process of its own: one run of `data-prep`, timed."""
    from data_prep.cli import main as data_prep
    from data_prep.shards import open_manifest

    os.sched_setaffinity(0, cores()[:1])
    with tempfile.TemporaryDirectory(dir=log.parent) as out:
        start = time.monotonic()
        code = data_prep(["run", "--input", str(log), "--schema", str(schema), "--out", out, "--workers", "1", "--part-rows", "131072"])
        seconds = time.monotonic() - start
        rows = sum(day.rows for day in open_manifest(out).days)
    if code:
        sys.exit(code)
    print(json.dumps({"rows": rows, "bytes": log.stat().st_size, "seconds": seconds}))


def figures(samples: list[Sample]) -> dict[str, Any]:
    return {
        "rows_per_s": round(middle(samples)),
        "rows_per_s_of_each": [round(rate) for rate in rates(samples)],
        "mb_per_s": round(middle(samples, "bytes") / 1e6, 1),
        "peak_rss_mb": peak_mb(samples),
    }


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--rows", type=int, default=2_000_000)
    ask.add_argument("--repeats", type=int, default=3)
    ask.add_argument("--json", type=Path, help="where to write the figures")
    ask.add_argument("--case", nargs=2, type=Path, metavar=("LOG", "SCHEMA"), help="run one case and print it, as this program does itself")
    arguments = ask.parse_args()
    if arguments.case:
        run_case(*arguments.case)
        return
    with tempfile.TemporaryDirectory() as folder:
        cases = {}
        for rows in (arguments.rows, arguments.rows // 4):
            place = Path(folder, str(rows))
            place.mkdir()
            write_table(place, rows)
            for rule, text in (("by_name", SCHEMA), ("by_column", SCHEMA + DAY_COLUMN)):
                (place / f"{rule}.toml").write_text(text)
                for suffix in ("csv", "csv.gz", "parquet"):
                    case = ["--case", str(place / f"day_0.{suffix}"), str(place / f"{rule}.toml")]
                    cases[f"{suffix} {rule} {rows}"] = [sys.executable, __file__, *case]
        found = {name: figures(samples) for name, samples in measure_in_turn(cases, arguments.repeats).items()}
    print(json.dumps(found, indent=2))
    if arguments.json:
        write_json(arguments.json, {"machine": machine(("pyarrow", "numpy", "numba")), "rows": arguments.rows, "cases": found})


if __name__ == "__main__":
    main()
