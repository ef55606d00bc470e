"""One function counts in messages, and no message pluralises by itself."""

from __future__ import annotations

import re
from pathlib import Path

from data_prep.wording import counted

ROOT = Path(__file__).resolve().parents[2]


def test_one_is_singular_and_all_else_plural() -> None:
    assert counted(1, "day") == "1 day"
    assert counted(0, "day") == "0 days"
    assert counted(12_000, "row") == "12,000 rows"
    assert counted(1, "module was", "modules were") == "1 module was"
    assert counted(2, "module was", "modules were") == "2 modules were"


def test_nobody_else_decides_on_an_s() -> None:
    own = re.compile(r"""'s' if|"s" if|['"]s['"] \*|\(s\)""")
    files = [
        path for package in ("data_prep", "embeddings", "recsys_nas", "launch") for path in (ROOT / package).rglob("*") if path.is_file()
    ]
    texts = [path for path in files if path.suffix in (".py", ".j2") and path.name != "wording.py"]
    assert len(texts) > 150
    assert [path.name for path in texts if own.search(path.read_text(encoding="utf-8"))] == []
