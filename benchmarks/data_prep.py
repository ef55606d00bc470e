"""How fast do Criteo logs become shards, and in how much memory? Ours, TorchRec's converter and polars, on one generated set of files.

    pip install polars    # a peer, not a dependency; the extra `benchmarks` in setup.py
    python benchmarks/data_prep.py --rows 16000000 --json OUT

Each case is a process of its own; they run in turn, once to warm up, and the figures are medians of the rounds after. Cases
named *_one run on one core, the others on all. Our work: parsing, checking, transform, hashing, writing, sha256, fsync,
manifest; see data_prep_cases.py for the peers', who check less. There are as many day files as cores. What a day ends with (its
last part flushed) keeps no core busy, so few rows show poor scaling.
TorchRec's converter gets the first rows only: it holds 2 GB per million.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import shutil
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import MB, Sample, cores, machine, measure_in_turn, middle, peak_mb, rates
from data_prep.atomic import whole_folder, write_json

TORCHREC_ROWS = 100_000
VERSIONS = ("numpy", "numba", "isal", "zstandard", "polars", "torchrec")
SIZES_APART = 4


def make_logs(folder: Path, rows: int) -> None:
    """raw/day_*: as many days as cores; quarter/: the first quarter of each; head/day_0 for TorchRec; packed/day_0.gz and .zst."""
    from zstandard import ZstdCompressor

    from data_prep.synth import SynthParameters, synthesise

    days = len(cores())
    synthesise(folder / "raw", SynthParameters(0, rows // days, days), workers=days)
    for day in sorted((folder / "raw").glob("day_*")):
        copy_head(day, folder / "quarter" / day.name, rows // days // SIZES_APART)
    first = folder / "raw" / "day_0"
    copy_head(first, folder / "head" / "day_0", TORCHREC_ROWS)
    for suffix in ("gz", "zst"):
        (folder / suffix).mkdir()
    with first.open("rb") as source, gzip.open(folder / "gz" / "day_0.gz", "wb", compresslevel=6) as target:
        shutil.copyfileobj(source, target, 1 << 22)
    with first.open("rb") as source, (folder / "zst" / "day_0.zst").open("wb") as file:
        ZstdCompressor(level=3, write_checksum=True).copy_stream(source, file)


def copy_head(source: Path, target: Path, rows: int) -> None:
    target.parent.mkdir(exist_ok=True)
    with source.open("rb") as lines, target.open("wb") as file:
        file.writelines(islice(lines, rows))


def cases_of(folder: Path) -> dict[str, list[str]]:
    """The command of each case."""
    program, all_cores = [sys.executable, str(Path(__file__).with_name("data_prep_cases.py"))], str(len(cores()))
    logs = {"raw": "raw/day_*", "quarter": "quarter/day_*", "head": "head/day_0", "gz": "gz/day_0.gz", "zst": "zst/day_0.zst"}
    asked = {
        "ours_one": ("ours_one", "1", "raw"),
        "polars_one": ("polars", "1", "raw"),
        "torchrec_one": ("torchrec", "1", "head"),
        "ours_all": ("ours_all", all_cores, "raw"),
        "polars_all": ("polars", all_cores, "raw"),
        "ours_all_quarter": ("ours_all", all_cores, "quarter"),
        **{f"ours_{suffix}": ("ours_all", all_cores, suffix) for suffix in ("gz", "zst")},
        **{f"decompress_{suffix}": ("decompress", "1", suffix) for suffix in ("gz", "zst")},
    }
    return {name: [*program, case, count, str(folder / logs[log]), str(folder / "out")] for name, (case, count, log) in asked.items()}


def summary(samples: dict[str, list[Sample]], folder: Path) -> dict[str, Any]:
    rate = {name: middle(taken) for name, taken in samples.items()}
    day = folder / "raw" / "day_0"
    bytes_a_row = day.stat().st_size / samples["ours_gz"][0].printed["rows"]
    share = {suffix: rate[f"ours_{suffix}"] * bytes_a_row / rate[f"decompress_{suffix}"] for suffix in ("gz", "zst")}
    return {
        "rows_per_s_one": round(rate["ours_one"]),
        "rows_per_s_all": round(rate["ours_all"]),
        "vs_torchrec": round(rate["ours_one"] / rate["torchrec_one"], 2),
        "vs_polars": round(rate["ours_all"] / rate["polars_all"], 2),
        "vs_polars_one": round(rate["ours_one"] / rate["polars_one"], 2),
        "scaling": round(rate["ours_all"] / rate["ours_one"], 2),
        "peak_rss_mb": peak_mb(samples["ours_all"]),
        "peak_rss_mb_quarter": peak_mb(samples["ours_all_quarter"]),
        "gzip_share_of_decompressor": round(share["gz"], 2),
        "zstd_share_of_decompressor": round(share["zst"], 2),
        "gzip_rows_per_s": round(rate["ours_gz"]),
        "zstd_rows_per_s": round(rate["ours_zst"]),
        "decompressor_mb_per_s": {suffix: round(rate[f"decompress_{suffix}"] / MB) for suffix in ("gz", "zst")},
        "bytes_a_row": round(bytes_a_row, 1),
        "gzip_bytes_a_row": round((folder / "gz" / "day_0.gz").stat().st_size / samples["ours_gz"][0].printed["rows"], 1),
        "rows": int(samples["ours_one"][0].printed["rows"]),
        "cases": {
            name: {"rows_per_s_all": [round(one) for one in rates(taken)], "peak_rss_mb": peak_mb(taken)} for name, taken in samples.items()
        },
    }


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--rows", type=int, default=16_000_000, help="about 260 bytes each; the folder needs about three times that")
    ask.add_argument("--repeats", type=int, default=3)
    ask.add_argument("--json", type=Path, help="where to write the figures")
    ask.add_argument("--folder", type=Path, help="where the files are made, kept and used again (default: in a temporary folder)")
    arguments = ask.parse_args()
    if importlib.util.find_spec("polars") is None:
        sys.exit("error: polars, one of the peers, is not installed here; install it with: pip install polars")
    where = machine(VERSIONS)
    with tempfile.TemporaryDirectory() as temporary:
        parent = arguments.folder or Path(temporary)
        folder = parent / f"rows-{arguments.rows}"
        if not folder.exists():
            with whole_folder(folder, parent) as made:
                make_logs(made, arguments.rows)
        figures = summary(measure_in_turn(cases_of(folder), arguments.repeats, warm_up=1), folder) | {"machine": where}
    print(json.dumps(figures, indent=2))
    if arguments.json:
        write_json(arguments.json, figures)


if __name__ == "__main__":
    main()
