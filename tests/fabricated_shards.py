"""Small shards with one planted pair, made without the preparation, for tests of what reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_prep.schema import Schema, SparseFeature
from data_prep.shards import DayEntry, Manifest, Part, open_manifest, write_manifest, write_part

NUM_DENSE, CARDINALITIES = 2, (11, 7, 5)


def write_shards(root: Path, days: int, rows_per_part: tuple[int, ...]) -> Manifest:
    """Days of parts whose click rate depends on the pair (C1, C2); the same bytes on every call."""
    generator = np.random.default_rng(7)
    effects = [generator.normal(size=n) for n in CARDINALITIES]
    entries = []
    for day in range(days):
        parts = []
        for number, rows in enumerate(rows_per_part):
            sparse = np.stack([generator.integers(0, n, rows) for n in CARDINALITIES], axis=1).astype(np.int32)
            logits = 2.0 * effects[0][sparse[:, 0]] * effects[1][sparse[:, 1]] - 0.5
            label = (generator.random(rows) < 1 / (1 + np.exp(-logits))).astype(np.int32)[:, None]
            dense = generator.exponential(size=(rows, NUM_DENSE)).astype(np.float32)
            path = f"day={day:02d}/part-{number:05d}"
            parts.append(write_part(root / path, path, Part(dense, sparse, label)))
        rows, positives = sum(p.rows for p in parts), sum(p.positives for p in parts)
        entries.append(DayEntry(day, rows, positives, tuple(parts)))
    schema = Schema(
        "label", tuple(f"I{i + 1}" for i in range(NUM_DENSE)), tuple(SparseFeature(f"C{i + 1}", n) for i, n in enumerate(CARDINALITIES))
    )
    write_manifest(root, Manifest(schema, {}, tuple(entries)))
    return open_manifest(root)
