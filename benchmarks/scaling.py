"""Writes the figures of docs/scaling.md: what measured rates mean for Criteo's terabyte.

    python benchmarks/data_prep.py --rows 16000000 --json data_prep.json
    python benchmarks/reader.py --json reader.json
    python benchmarks/scaling.py data_prep.json reader.json

Replaces the text between the two marks in the page; all else there stays.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_prep.atomic import write_text
from data_prep.prepare import share_out
from data_prep.progress import duration

PAGE = Path(__file__).resolve().parent.parent / "docs" / "scaling.md"
BEGIN, END = "<!-- figures: made by benchmarks/scaling.py -->", "<!-- end of figures -->"

DAYS, HOST_CORES = 24, 16
ROWS = 4_195_197_692 + 178_274_637
RAW_BYTES_A_ROW = 250.8
GZIP_BYTES = 342e9
SHARD_BYTES_A_ROW = 4 * (13 + 26 + 1)
QUIET_LOAD = 0.3
ROWS_A_DAY = ROWS / DAYS


def figures(prepared: Mapping[str, Any], read: Mapping[str, Any]) -> str:
    """The tables, in Markdown; `prepared` and `read` are what the two benchmarks wrote."""
    rate, gzip_rate = prepared["rows_per_s_one"], prepared["gzip_rows_per_s"]
    worker_mb, process_mb = prepared["cases"]["ours_one"]["peak_rss_mb"], prepared["peak_rss_mb"]
    machine = prepared["machine"]
    processes, threads = share_out(DAYS, HOST_CORES, threaded=True)
    if machine["cores"] != threads:
        sys.exit(f"error: measured on {machine['cores']} cores; these days have {threads} each: measure under `taskset -c 0-{threads - 1}`")
    measured = [
        ("preparation, one core, plain", f"{rate:,} rows/s"),
        (f"the same, {machine['cores']} cores", f"{prepared['rows_per_s_all']:,} rows/s, {prepared['scaling']} times one core"),
        (f"one gzipped day, {machine['cores']} cores with the decompressor", f"{gzip_rate:,} rows/s"),
        ("most memory on one core", f"{worker_mb:,.0f} MB"),
        (
            f"most memory on {machine['cores']} cores, and with a quarter of the rows",
            f"{process_mb:,.0f} MB, {prepared['peak_rss_mb_quarter']:,.0f} MB",
        ),
        ("reader, one core, batch 8192, in order and shuffled", f"{read['rows_per_s']:,} rows/s, {read['rows_per_s_shuffled']:,} rows/s"),
    ]
    day, rounds = ROWS_A_DAY / rate, -(-DAYS // processes)
    host = rounds * ROWS_A_DAY / prepared["rows_per_s_all"]
    computed = [
        ("a day on one core", duration(day)),
        (f"{DAYS} days on {HOST_CORES} cores: {rounds} rounds of {processes} days, {threads} cores each", duration(host)),
        (
            "the disk must then read, plain, and write",
            f"{ROWS * RAW_BYTES_A_ROW / host / 1e9:.1f} GB/s, {ROWS * SHARD_BYTES_A_ROW / host / 1e9:.1f} GB/s",
        ),
        ("a disk of 1 GB/s for both together instead", duration(ROWS * (RAW_BYTES_A_ROW + SHARD_BYTES_A_ROW) / 1e9)),
        (f"memory of the {processes} processes", f"{processes * process_mb / 1e3:.1f} GB"),
        (f"{DAYS} jobs of one core each, a day a job", f"{duration(day)}, {worker_mb:,.0f} MB a job"),
        (f"{DAYS} jobs of two cores each, from gzip", duration(ROWS_A_DAY / gzip_rate)),
        ("all shards read once by one core", duration(ROWS / read["rows_per_s"])),
    ]
    where = f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gb']} GB, load {machine['load_before']:.1f} before"
    what = f"{prepared['rows']:,} generated rows of {prepared['bytes_a_row']} bytes, medians"
    head = f"Measured {machine['date'][:10]} at commit `{machine['commit']}` on {where}; {what}{_rough(machine)}:"
    return "\n".join([head, "", *_table("measured", measured), "", "From these, by arithmetic:", "", *_table("Criteo 1TB", computed)])


def _rough(machine: Mapping[str, Any]) -> str:
    return ", **rough, since the machine had other work**" if machine["load_before"] > QUIET_LOAD else ""


def _table(title: str, rows: list[tuple[str, str]]) -> list[str]:
    return [f"| {title} | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("data_prep", type=Path, help="what benchmarks/data_prep.py wrote")
    ask.add_argument("reader", type=Path, help="what benchmarks/reader.py wrote")
    arguments = ask.parse_args()
    prepared, read = (json.loads(path.read_text(encoding="utf-8")) for path in (arguments.data_prep, arguments.reader))
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        sys.exit(f"error: {PAGE} lacks the marks {BEGIN!r} and {END!r}; put them where the figures shall stand")
    write_text(PAGE, f"{before}{BEGIN}\n{figures(prepared, read)}\n{END}{after}")


if __name__ == "__main__":
    main()
