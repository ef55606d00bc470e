"""Small shards with one planted pair, made without the preparation, for tests of what reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_prep.part_files import write_part
from data_prep.schema import JaggedFeature, Schema, SparseFeature
from data_prep.shards import DayEntry, Jagged, Manifest, Part, open_manifest, write_manifest

NUM_DENSE, CARDINALITIES = 2, (11, 7, 5)
SEEN = JaggedFeature("seen", 13, max_length=4)


def write_shards(
    root: Path, days: int, rows_per_part: tuple[int, ...], lists: bool = False, without_clicks: tuple[int, ...] = ()
) -> Manifest:
    """Days of parts whose click rate depends on the pair (C1, C2), but for days `without_clicks`; the same bytes on every call.

    With `lists` they have a jagged column too, SEEN, and the click rate depends on the mean over its list as well.
    """
    generator, of_lists = np.random.default_rng(7), np.random.default_rng(8)
    effects = [generator.normal(size=n) for n in CARDINALITIES]
    entries = []
    for day in range(days):
        parts = []
        for number, rows in enumerate(rows_per_part):
            sparse = np.stack([generator.integers(0, n, rows) for n in CARDINALITIES], axis=1).astype(np.int32)
            logits = 2.0 * effects[0][sparse[:, 0]] * effects[1][sparse[:, 1]] - 0.5
            jagged = {}
            if lists:
                lengths = of_lists.integers(0, SEEN.max_length + 1, rows)
                ids = of_lists.integers(0, SEEN.num_embeddings, lengths.sum()).astype(np.int32)
                jagged = {SEEN.name: Jagged(ids, np.concatenate([[0], np.cumsum(lengths)]))}
                sums = np.bincount(np.repeat(np.arange(rows), lengths), np.where(ids % 2, 3.0, -3.0), minlength=rows)
                logits = logits + sums / np.maximum(lengths, 1)
            label = (generator.random(rows) < 1 / (1 + np.exp(-logits))).astype(np.int32)[:, None]
            if day in without_clicks:
                label = np.zeros_like(label)
            dense = generator.exponential(size=(rows, NUM_DENSE)).astype(np.float32)
            path = f"day={day:02d}/part-{number:05d}"
            parts.append(write_part(root / path, path, Part(dense, sparse, label, jagged)))
        rows, positives = sum(p.rows for p in parts), sum(p.positives for p in parts)
        entries.append(DayEntry(day, rows, positives, tuple(parts)))
    features = tuple(SparseFeature(f"C{i + 1}", n) for i, n in enumerate(CARDINALITIES))
    schema = Schema("label", tuple(f"I{i + 1}" for i in range(NUM_DENSE)), features, (SEEN,) if lists else ())
    write_manifest(root, Manifest(schema, {}, tuple(entries)))
    return open_manifest(root)
