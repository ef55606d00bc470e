"""A file appears whole or not at all, and nothing temporary is left behind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.atomic import write_bytes, write_json, write_text

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3),
    max_leaves=8,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_makes_the_parent_folder_and_replaces_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "day=00" / "note.txt"
    write_text(path, "first\r\n")
    write_text(path, "zweite Zeile: ä\n")
    assert path.read_bytes() == "zweite Zeile: ä\n".encode()
    assert names(path.parent) == ["note.txt"]


def test_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    write_bytes(tmp_path / "raw", b"\r\n\x00\xff")
    assert (tmp_path / "raw").read_bytes() == b"\r\n\x00\xff"


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    write_text(tmp_path / "note.txt", "old")

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    if failing == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_text(tmp_path / "note.txt", "new")
    assert (tmp_path / "note.txt").read_text() == "old"
    assert names(tmp_path) == ["note.txt"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(value=json_values)
def test_json_comes_back_equal(tmp_path: Path, value: Any) -> None:
    write_json(tmp_path / "value.json", value)
    assert json.loads((tmp_path / "value.json").read_text(encoding="utf-8")) == value


def test_json_keeps_key_order_and_ends_in_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "value.json", {"b": 1, "a": [2]})
    assert (tmp_path / "value.json").read_text() == '{\n  "b": 1,\n  "a": [\n    2\n  ]\n}\n'


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_json_cannot_hold_is_refused_and_the_old_file_stays(tmp_path: Path, bad: float) -> None:
    write_json(tmp_path / "value.json", 1)
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "value.json", {"auc": bad})
    assert (tmp_path / "value.json").read_text() == "1\n"
