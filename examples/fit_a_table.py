"""A table of clicks in, an architecture and a trained model out. Takes about a minute on one core: python examples/fit_a_table.py"""

import datetime

import numpy as np

from data_prep.table_schema import DayRule, SparseColumn, TableSchema
from recsys_nas.estimator import ArchitectureSearch

draw, rows = np.random.default_rng(0), 60_000
user, item, price = draw.integers(0, 40, rows), draw.integers(0, 60, rows), draw.random(rows)
taste, kind = draw.normal(size=40), draw.normal(size=60)
clicked = (draw.random(rows) < 1 / (1 + np.exp(1 - 2 * taste[user] * kind[item]))).astype(int)
time = np.arange(rows) // 20_000 * 86_400  # three days, in seconds
# a pandas or polars DataFrame does as well as this dict of columns
clicks = {"clicked": clicked, "time": time, "user": user, "item": item, "price": price}

sparse = {"user": SparseColumn(buckets=50), "item": SparseColumn(buckets=70)}
day = DayRule(column="time", format="seconds", first=datetime.date(1970, 1, 1))
schema = TableSchema(label="clicked", dense=("price",), sparse=sparse, day=day)
search = ArchitectureSearch("runs/fit_a_table", schema, ["space.dense_widths=[16]", "embedding.dim=8"])
search.fit(clicks)
print(search.architecture)
print(f"AUC {search.results['models'][0]['auc']:.4f} on the last day; the report is {search.folder / 'report.html'}")
print(f"chance of a click: {search.predict_proba(clicks)[:5, 1].round(3)}")
