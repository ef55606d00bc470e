"""How a run looks in TensorBoard: the layout of the few charts that matter, and the table of hyperparameters.

The table is written into each job's own events (as `add_hparams(run_name=".")` would, but without a second file and without
writing figures twice), so that a job is one line of it. Every job declares the same columns.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2

LAYOUT = {
    "1 search": {
        "probability of each gate": ["Multiline", ["gates/.*"]],
        "expected dense FLOPs against the target": ["Multiline", ["search/expected_dense_flops", "search/target_flops"]],
        "gate entropy in bits: 1 undecided, 0 decided": ["Multiline", ["search/gate_entropy"]],
    },
    "2 quality": {
        "AUC of rows before they are learnt from": ["Multiline", ["eval/auc"]],
        "NE of rows before they are learnt from": ["Multiline", ["eval/ne"]],
        "calibration: predicted over observed clicks": ["Multiline", ["eval/calibration"]],
    },
    "3 speed": {
        "rows a second": ["Multiline", ["train/rows_per_second"]],
        "share of time waiting for data": ["Multiline", ["train/data_wait_share"]],
    },
}
"""The tab Custom Scalars: category, chart, tags (regular expressions)."""

SETTINGS = ("architecture", "cost_weight", "day", "learning_rate", "model", "seed")
"""Columns of the table; TensorBoard puts them in this order and shows five of them at first."""
METRICS = ("test/auc", "test/logloss", "test/ne", "test/calibration", "cost/dense_flops", "cost/lookup_bytes", "cost/dense_params",
           "eval/auc", "eval/ne", "search/expected_dense_flops", "search/gate_entropy")  # fmt: skip


def begun(job: str, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """The summaries of a `job`, such as `search day 3`, with these of the `SETTINGS`. Raises ValueError for a name that is none of them."""
    if unknown := set(settings) - set(SETTINGS):
        raise ValueError(f"{sorted(unknown)} are no columns of the table; known: {', '.join(SETTINGS)}")
    columns = [summary_v2.HParam(name) for name in SETTINGS]
    declared = summary_v2.hparams_config_pb(columns, [summary_v2.Metric(tag, display_name=tag) for tag in METRICS])
    return declared, summary_v2.hparams_pb(dict(settings), trial_id=job)


def ended(failed: bool) -> Any:
    """The summary of a job that has ended."""
    status = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
    ending = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
    content = plugin_data_pb2.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, session_end_info=ending).SerializeToString()
    about = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=content))
    return Summary(value=[Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=about, tensor=metadata.NULL_TENSOR)])
