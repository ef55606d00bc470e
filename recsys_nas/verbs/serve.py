"""Verbs for serving what was found: what it costs, and its tables in fewer bits."""

from __future__ import annotations

import argparse

from data_prep.command_line import SUCCESS
from recsys_nas.verbs.verb import Verb, add_json, add_run, print_json, run_folder


def _cost_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="an architecture file, or a name of the zoo such as dcnv2")
    parser.add_argument("--schema", required=True, help="a folder of shards, criteo, or the TOML of a table of your own")
    parser.add_argument("--device", default="cpu", help="cpu, a100, h100 or h200 (default cpu)")
    parser.add_argument("--batch", type=int, default=1024, help="examples scored together (default 1024)")
    parser.add_argument("--dtype", default="float32", help="of weights and activations: float32 or bfloat16 (default float32)")
    parser.add_argument("--tables", default="float32", help="of embedding tables: float32, float16, int8 or int4 (default float32)")
    parser.add_argument("--dim", type=int, help="width of the embeddings, for a model of the zoo")
    add_json(parser)


def _cost(arguments: argparse.Namespace) -> int:
    from recsys_nas.cost.command import run_cost

    run_cost(arguments)
    return SUCCESS


def _quantise_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--model", required=True, help="found, full_supernet, or a name of the zoo such as dcnv2")
    parser.add_argument("--seed", type=int, help="which of its trainings (default: the first of retrain.seeds)")
    parser.add_argument("--dtype", nargs="+", choices=["float16", "int8", "int4"], default=["int8"], help="default int8")
    add_json(parser)


def _quantise(arguments: argparse.Namespace) -> int:
    from recsys_nas.jobs.assembly import Run
    from recsys_nas.jobs.environment import process_group
    from recsys_nas.serving.quantised import quantise_model, summary

    run = Run.open(run_folder(arguments.run))
    seed = run.config.retrain.seeds[0] if arguments.seed is None else arguments.seed
    with run.staged(run.retrain_days) as run, process_group() as ranks:
        reports = quantise_model(run, arguments.model, seed, arguments.dtype, ranks)
    if arguments.json:
        print_json(reports)
    else:
        print(*map(summary, reports), sep="\n")
    return SUCCESS


VERBS = (
    Verb(
        "cost",
        "what an architecture, or a model of the zoo, costs to serve: FLOPs, bytes, parameters, and its time on a device at best",
        ("recsys-nas cost runs/demo/architecture.json --schema data/demo/shards --device h200 --batch 1024",),
        _cost_options,
        _cost,
    ),
    Verb(
        "quantise",
        "write a trained model's tables in fewer bits, and what that costs in AUC",
        ("recsys-nas quantise runs/demo --model found --dtype int8 int4",),
        _quantise_options,
        _quantise,
    ),
)
