"""Looking at a sharding plan before anything is started: what each rank would hold, and whether it fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from data_prep.shards import open_manifest
from embeddings.errors import DoesNotFit
from embeddings.plan import Plan
from embeddings.plan_text import plan_text
from embeddings.planner import Machine, make_plan
from recsys_nas.config import Config
from recsys_nas.jobs.assembly import Run
from recsys_nas.named_resources import with_resource

Phase = Literal["search", "retrain"]


def plan_run(config: Config, phase: Phase, world_size: int) -> Plan:
    """The plan of a job of `config` over `world_size` ranks, made in this process alone.

    Tables live on GPUs where `launch.gpus`, or the resource that `launch` names, says so, and hosts have `launch.nproc_per_node` ranks
    (1: all are on one host), unless `[embedding]` says otherwise. Raises DoesNotFit, ConfigError for an unknown resource, and TableError or
    DataError for what cannot be planned for.
    """
    run = Run(config.run_folder, config, config.run_folder, open_manifest(config.data.shards))
    run = run.searching() if phase == "search" else run
    embedding, launch = run.config.embedding, with_resource(config.launch)
    device = embedding.device if embedding.device != "auto" else ("cuda" if launch.gpus else "cpu")
    several_hosts = launch.nproc_per_node > 1 and world_size % launch.nproc_per_node == 0
    machine = Machine.of(embedding, world_size, launch.nproc_per_node if several_hosts else world_size, device)
    batch_size = config.search.batch_size if phase == "search" else config.retrain.batch_size
    return make_plan(run.schema, embedding, machine, batch_size, run.mean_lengths)


def show_plan(config: Config, phase: Phase, world_size: int, out: Path | None, as_json: bool = False) -> bool:
    """Print the plan, write it to `out` unless that is None, and say whether it fits; with `as_json` all of it as one object."""
    try:
        plan = plan_run(config, phase, world_size)
    except DoesNotFit as error:
        print(json.dumps({"fits": False, "reason": str(error)}, indent=2) if as_json else f"does not fit: {error}")
        return False
    if out is not None:
        plan.write(out)
    if as_json:
        print(json.dumps({"fits": True, "plan": plan.to_json()}, indent=2))
        return True
    print(f"{plan_text(plan)}\n\nit fits")
    if out is not None:
        print(f"wrote {out}; embedding.plan = {str(out)!r} uses it")
    return True
