"""From logs to shards: the same bytes however it goes, days kept when a run dies, bad rows counted and told."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from data_prep import prepare as prepare_module
from data_prep import quarantine
from data_prep.errors import DataError
from data_prep.inputs import find_days
from data_prep.lock import exclusive
from data_prep.part_files import ArrayFile, PartFiles
from data_prep.prepare import PrepareOptions, prepare, share_out
from data_prep.shards import open_manifest, open_part, read_json

GOOD = "\t".join(["1", *["7"] * 13, *["0000000f"] * 26]) + "\n"


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def run(raw: Path, out: Path, options: PrepareOptions, workers: int = 1, files: str = "day_*") -> int:
    return prepare(out, find_days([f"{raw}/{files}"]), options, workers)[1]


def log(tmp_path: Path, text: str, name: str = "day_0") -> Path:
    folder = tmp_path / "raw"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, newline="")
    return folder


def test_rows_and_positives_are_those_of_the_logs(raw: Path, shards: Path) -> None:
    manifest = open_manifest(shards)
    for day in manifest.days:
        lines = (raw / f"day_{day.day}").read_text().splitlines()
        assert [part.rows for part in day.parts] == [1000, 1000, 500]
        assert (day.rows, day.bad_rows) == (len(lines), 0)
        assert day.positives == sum(part.positives for part in day.parts) == sum(line.startswith("1") for line in lines)
        label = np.concatenate([open_part(shards, part).label for part in day.parts])
        assert label[:, 0].tolist() == [int(line[0]) for line in lines]
        missing = sum(cell == "" for line in lines for cell in line.split("\t")[14:])
        assert sum(int((open_part(shards, part).sparse == 0).sum()) for part in day.parts) == missing > 0


@pytest.mark.parametrize("workers", [2, 7])
def test_same_bytes_with_any_number_of_workers(workers: int, raw: Path, shards: Path, options: PrepareOptions, tmp_path: Path) -> None:
    """One process of two threads; three of two."""
    assert run(raw, tmp_path, options, workers=workers) == 3
    assert tree(tmp_path) == tree(shards)


@pytest.mark.parametrize(
    ("days", "workers", "processes", "threads"),
    [
        (1, 1, 1, 1),
        (24, 1, 1, 1),
        (24, 2, 1, 2),
        (1, 16, 1, 16),
        (24, 3, 1, 3),
        (24, 16, 8, 2),
        (9, 16, 5, 3),
        (2, 4, 2, 2),
        (24, 96, 24, 4),
    ],
)
def test_days_read_by_threads_share_the_cores(days: int, workers: int, processes: int, threads: int) -> None:
    assert share_out(days, workers, threaded=True) == (processes, threads)
    assert processes * threads <= workers


@pytest.mark.parametrize(("days", "workers", "processes"), [(1, 1, 1), (24, 16, 16), (3, 16, 3)])
def test_days_read_by_one_thread_have_a_process_each(days: int, workers: int, processes: int) -> None:
    assert share_out(days, workers, threaded=False) == (processes, 1)


def test_part_size_changes_the_parts_and_not_the_rows(raw: Path, shards: Path, options: PrepareOptions, tmp_path: Path) -> None:
    run(raw, tmp_path, dataclasses.replace(options, part_rows=1250), files="day_0")
    day = open_manifest(tmp_path).day(0)
    assert [part.rows for part in day.parts] == [1250, 1250]
    for name in ("dense", "sparse", "label"):
        ours = np.concatenate([getattr(open_part(tmp_path, part), name) for part in day.parts])
        theirs = np.concatenate([getattr(open_part(shards, part), name) for part in open_manifest(shards).day(0).parts])
        np.testing.assert_array_equal(ours, theirs)


def test_line_ends_and_compression_do_not_matter(raw: Path, shards: Path, options: PrepareOptions, tmp_path: Path) -> None:
    text = (raw / "day_1").read_bytes()
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "day_1.gz").write_bytes(gzip.compress(text.replace(b"\n", b"\r\n").rstrip(b"\r\n")))
    run(folder, tmp_path / "out", options)
    assert open_manifest(tmp_path / "out").day(1) == open_manifest(shards).day(1)


def test_a_second_run_does_nothing_and_a_new_day_is_added(raw: Path, shards: Path, options: PrepareOptions, tmp_path: Path) -> None:
    assert run(raw, tmp_path, options, files="day_[01]") == 2
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    assert run(raw, tmp_path, options, files="day_[01]") == 0
    assert run(raw, tmp_path, options, files="day_2") == 1
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert tree(tmp_path) == tree(shards)


KILLED_AT_A_PART = """
    import os, signal, sys
    from pathlib import Path
    from data_prep.cli import main
    from data_prep.part_files import PartFiles

    finish, calls = PartFiles.finish, 0

    def finish_or_die(*arguments):
        global calls
        calls += 1
        if calls == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)
        return finish(*arguments)

    PartFiles.finish = finish_or_die
    main(["run", "--input", sys.argv[2], "--out", sys.argv[3], "--workers", "1", "--part-rows", "1000", "--buckets", "500"])
"""


@pytest.mark.parametrize("part", [2, 7])
def test_killed_and_run_again_gives_the_same_bytes(part: int, raw: Path, shards: Path, options: PrepareOptions, tmp_path: Path) -> None:
    command = [sys.executable, "-c", dedent(KILLED_AT_A_PART), str(part), f"{raw}/day_*", str(tmp_path)]
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": os.getcwd()}, check=False).returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob("day=*"))) == (part - 1) // 3
    assert len(list(tmp_path.glob(".work/day=*"))) == 1
    assert not (tmp_path / "manifest.json").exists()
    assert run(raw, tmp_path, options) == 3 - (part - 1) // 3
    assert tree(tmp_path) == tree(shards)


@pytest.mark.parametrize(("what", "when"), [(PartFiles, "append"), (ArrayFile, "finish")])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_fault_leaves_no_temporary_folder(
    what: type, when: str, workers: int, raw: Path, options: PrepareOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(what, when, full)
    with pytest.raises(OSError, match="No space left"):
        run(raw, tmp_path, options, workers=workers)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"part_rows": 999}, "part_rows 1000 there, 999 asked"), ({"buckets": 501}, "buckets 500 there, 501 asked")],
)
def test_other_parameters_are_refused(
    change: dict[str, int], message: str, raw: Path, shards: Path, options: PrepareOptions, tmp_path: Path
) -> None:
    shutil.copytree(shards, tmp_path, dirs_exist_ok=True)
    with pytest.raises(DataError, match=f"made with other parameters .*{message}.*choose another --out"):
        run(raw, tmp_path, dataclasses.replace(options, **change))  # type: ignore[arg-type]
    assert tree(tmp_path) == tree(shards)


def test_a_log_that_changed_is_refused(raw: Path, shards: Path, options: PrepareOptions, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "out")
    folder = log(tmp_path, (raw / "day_0").read_text() + GOOD)
    with pytest.raises(DataError, match=r"day=00 was made from day_0 of .* bytes, and .* has .* bytes: delete"):
        run(folder, tmp_path / "out", options)


def test_two_runs_on_one_output_do_not_mix(raw: Path, options: PrepareOptions, tmp_path: Path) -> None:
    with exclusive(tmp_path), pytest.raises(DataError, match="another process is writing to"):
        run(raw, tmp_path, options)
    run(raw, tmp_path, options, files="day_0")


def test_bad_rows_are_counted_and_quarantined(options: PrepareOptions, tmp_path: Path) -> None:
    text = GOOD + "1\t2\n" + GOOD.replace("0000000f\n", "xyz\n") + GOOD + "\n" + GOOD.replace("7", "?", 1)
    folder = log(tmp_path, text)
    assert run(folder, tmp_path / "out", dataclasses.replace(options, max_bad_share=0.8)) == 1
    day = open_manifest(tmp_path / "out").day(0)
    assert (day.rows, day.bad_rows) == (2, 4)
    assert read_json(tmp_path / "out/day=00/day.json")["bad_rows_by_fault"] == {"column_count": 2, "not_hex": 1, "not_integer": 1}
    records = [json.loads(line) for line in (tmp_path / "out/day=00/quarantine.jsonl").read_text().splitlines()]
    assert [(record["file"], record["line"], record["reason"]) for record in records] == [
        ("day_0", 2, "2 columns, expected 40"),
        ("day_0", 3, "C26 is not 1 to 8 hex digits"),
        ("day_0", 5, "1 column, expected 40"),
        ("day_0", 6, "I1 is not an integer"),
    ]
    assert records[0]["text"] == "1\t2"


def test_too_many_bad_rows_fail_the_day_and_keep_the_reasons(options: PrepareOptions, tmp_path: Path) -> None:
    folder, out = log(tmp_path, GOOD * 998 + "x\n" * 2), tmp_path / "out"
    message = r"2 of 1,000 rows are bad \(0.2 %, allowed 0.1 %\), the first at line 999 of .*day_0: 1 column,"
    with pytest.raises(DataError, match=message) as caught:
        run(folder, out, options)
    kept = out / "quarantine-day=00.jsonl"
    assert str(kept) in str(caught.value)
    assert len(kept.read_text().splitlines()) == 2
    assert sorted(path.name for path in out.iterdir()) == [".lock", kept.name]
    assert run(folder, out, dataclasses.replace(options, max_bad_share=0.002)) == 1
    assert not kept.exists()


def test_the_quarantine_is_capped_and_still_counts(options: PrepareOptions, tmp_path: Path) -> None:
    folder = log(tmp_path, GOOD + "x\n" * 3000)
    run(folder, tmp_path / "out", dataclasses.replace(options, max_bad_share=1))
    assert open_manifest(tmp_path / "out").day(0).bad_rows == 3000
    assert len((tmp_path / "out/day=00/quarantine.jsonl").read_text().splitlines()) == quarantine.MAX_WRITTEN == 1000


def test_a_hopeless_file_is_given_up_early(options: PrepareOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "HOPELESS_AFTER_LINES", 100)
    monkeypatch.setattr("data_prep.inputs.BLOCK_BYTES", 1000)
    with pytest.raises(DataError, match=r"of [1-9]\d\d rows are bad \(100 %"):
        run(log(tmp_path, "a,b,c\n" * 5000), tmp_path / "out", options)


@pytest.mark.parametrize("text", ["", "\n"])
def test_a_log_without_a_usable_row_is_refused(text: str, options: PrepareOptions, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no usable row: leave it out"):
        run(log(tmp_path, text), tmp_path / "out", dataclasses.replace(options, max_bad_share=1))


def test_too_small_a_disk_is_told_before_the_work(
    raw: Path, options: PrepareOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare_module, "SHARD_BYTES_PER_RAW_BYTE", 1e12)
    with pytest.raises(DataError, match="GB free"):
        run(raw, tmp_path, options)


@pytest.mark.parametrize(("change", "message"), [({"part_rows": 0}, "part rows = 0"), ({"max_bad_share": 1.5}, "max bad share = 1.5")])
def test_nonsense_options_are_refused(change: dict[str, float], message: str, options: PrepareOptions) -> None:
    with pytest.raises(DataError, match=message):
        dataclasses.replace(options, **change)  # type: ignore[arg-type]
