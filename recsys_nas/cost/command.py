"""`recsys-nas cost`: what an architecture, or a model of the zoo, costs to serve over given tables on a given device."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch

from data_prep.command_line import did_you_mean
from data_prep.options import DEFAULT_BUCKETS, read_schema
from data_prep.schema import Schema
from data_prep.shards import open_manifest
from embeddings.lookup_cost import ElementType, lookup_cost, mean_lengths
from recsys_nas.cost.devices import DeviceProfile, DType, device_profile, element_bytes
from recsys_nas.cost.serving import ServingCost, network_cost, serving_cost
from recsys_nas.space import Architecture, load_architecture
from recsys_nas.zoo.catalogue import MODELS
from recsys_nas.zoo.networks import NETWORKS


def run_cost(arguments: argparse.Namespace) -> None:
    """Print the cost that the options ask for. Raises ValueError, one line, for any that cannot be used."""
    device = device_profile(arguments.device)
    element_bytes(arguments.dtype)
    if arguments.batch < 1:
        raise ValueError(f"--batch {arguments.batch}: must be at least 1")
    schema, lengths = _schema(arguments.schema)
    cost = _cost(arguments, schema, lengths)
    if arguments.json:
        print(json.dumps(cost_json(cost, device, arguments.batch), indent=2))
    else:
        print(f"{arguments.model}: {cost_text(cost, device, arguments.batch)}")


def _schema(name: str) -> tuple[Schema, Mapping[str, float]]:
    """The schema of a shards folder, with the mean lengths of its lists; or `criteo`, or that of a table's TOML."""
    if Path(name).is_dir():
        manifest = open_manifest(name)
        return manifest.schema, mean_lengths(Path(name), manifest)
    return read_schema(name, DEFAULT_BUCKETS)[0], {}


def _cost(arguments: argparse.Namespace, schema: Schema, lengths: Mapping[str, float]) -> ServingCost:
    num_dense, num_sparse = len(schema.dense), len(schema.categorical)
    dtype, tables = cast(DType, arguments.dtype), cast(ElementType, arguments.tables)
    if arguments.model in MODELS:
        if arguments.dim is not None and arguments.dim < 1:
            raise ValueError(f"--dim {arguments.dim}: must be at least 1")
        if arguments.dim is None:
            raise ValueError(f"--dim: the zoo's {arguments.model} can have embeddings of any width; give one, for example --dim 16")
        sizes = (num_dense, num_sparse, arguments.dim)
        with torch.device("meta"):
            network = NETWORKS[arguments.model](*sizes)
        return network_cost(network, sizes, lookup_cost(schema, arguments.dim, tables, lengths), dtype)
    if not Path(arguments.model).exists():
        raise ValueError(
            f"{arguments.model!r} is neither an architecture file nor a model of the zoo; {did_you_mean(arguments.model, MODELS)}"
        )
    architecture = load_architecture(arguments.model)
    _check(arguments, architecture, num_dense, num_sparse)
    return serving_cost(architecture, lookup_cost(schema, architecture.embedding_dim, tables, lengths), dtype)


def _check(arguments: argparse.Namespace, architecture: Architecture, num_dense: int, num_sparse: int) -> None:
    if (architecture.num_dense, architecture.num_sparse) != (num_dense, num_sparse):
        raise ValueError(
            f"{arguments.model} is for {architecture.num_dense} numeric features and {architecture.num_sparse} embeddings, "
            f"--schema {arguments.schema} has {num_dense} and {num_sparse}; name the schema that it was searched on"
        )
    if arguments.dim not in (None, architecture.embedding_dim):
        raise ValueError(f"--dim {arguments.dim}: {arguments.model} has embeddings of {architecture.embedding_dim}; leave it out")


def cost_json(cost: ServingCost, device: DeviceProfile, batch: int) -> dict[str, Any]:
    """All of it as plain values; times in seconds a batch."""
    parts = []
    for part in cost.parts:
        line = cost.roofline(part, device, batch)
        parts.append(asdict(part) | {"bytes_per_batch": part.bytes(batch), "seconds": line.seconds, "bound": line.bound})
    names = ("dense_flops", "lookup_flops", "lookup_bytes", "activation_bytes", "parameters", "parameter_bytes")
    profile = asdict(device) | {"ridge_flops_per_byte": device.ridge(cost.dtype)}
    totals: dict[str, Any] = {name: getattr(cost, name) for name in names}
    totals |= {"bytes_per_batch": cost.bytes(batch), "seconds": cost.seconds(device, batch)}
    return {"device": profile, "dtype": cost.dtype, "batch": batch, "total": totals, "parts": parts}


def cost_text(cost: ServingCost, device: DeviceProfile, batch: int) -> str:
    """A few lines and a table, one part a line."""
    seconds = cost.seconds(device, batch)
    peak, bandwidth, ridge = _rate(device.flops[cost.dtype]), _rate(device.bandwidth), device.ridge(cost.dtype)
    flops = f"{cost.dense_flops:,} dense FLOPs and {cost.lookup_flops:,} lookup FLOPs per example (1 multiply-add = 2)"
    per_example = f"per example {cost.lookup_bytes:,} of tables and {cost.activation_bytes:,} of activations"
    per_batch = f"per batch {cost.parameter_bytes:,} of {cost.parameters:,} parameters in {cost.dtype}"
    time = f"{1e6 * seconds:,.2f} us for a batch of {batch:,}, {1e9 * seconds / batch:,.1f} ns an example"
    heads = ("FLOPs", "parameters", "bytes", "FLOPs/byte", "us/batch", "share")
    lines = [
        flops,
        f"bytes    {per_example}; {per_batch}",
        f"device   {device.name}, {device.title}: {peak}FLOP/s in {cost.dtype}, {bandwidth}B/s, ridge point {ridge:.1f} FLOPs/byte",
        f"roofline {time}, if all bytes come from memory; those that stay in a cache come faster",
        "",
        "block  {:<18} {:>12} {:>11} {:>10} {:>10} {:>10} {:>6}  bound by".format("module", *heads),
    ]
    for part in cost.parts:
        line, moved = cost.roofline(part, device, batch), part.bytes(batch)
        figures = f"{part.flops:>12,} {part.parameters:>11,} {part.activation_bytes + part.table_bytes:>10,}"
        intensity = f"{batch * part.flops / moved if moved else 0:>10.1f}"
        share = f"{1e6 * line.seconds:>10.2f} {line.seconds / seconds if seconds else 0:>6.1%}"
        lines.append(f"{part.block or '':>5}  {part.module:<18} {figures} {intensity} {share}  {line.bound if moved else ''}".rstrip())
    lines.append("FLOPs and bytes are per example; FLOPs/byte and time are those of a batch, weights and all.")
    return "\n".join(lines)


def _rate(per_second: float) -> str:
    """`4.8e12` -> `4.8 T`."""
    for size, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G")):
        if per_second >= size:
            return f"{per_second / size:.4g} {unit}"
    return f"{per_second:.4g} "
