"""What weight sharing costs a training step, against the networks it stands for and against NASRec's own supernet.

    python benchmarks/supernet.py --json supernet.json [--nasrec CHECKOUT]

- `gate_overhead`: a step of the gated supernet of `distdnas`, every gate on, over one of the stand-alone network with every module.
- `path_overhead`: a step of a sampled path through `nasrec_small`'s supernet over one of the same path taken out of it.
- `vs_nasrec`: a step of NASRec's supernet over one of ours: `nasrec_small`, batch 512, its sampling (`recsys_nas.search.path_sampling`),
  its optimizer (Adagrad, rate .12, epsilon .01, gradients cut at norm 5), tables of 1,000 rows on both sides. CHECKOUT is a
  clone of https://github.com/facebookresearch/NasRec; its lazy layers need one pass with everything on before the optimizer is made.
- `bf16_speedup`, `compile_speedup`, `bf16_compile_speedup`: the stand-alone step in float32 over the same under `precision = "bfloat16"`,
  `compile = true`, and both; and what these do to the loss after the same steps.

Steps are forward, backward and optimizer, on random data in memory; the cases of a pair take turns, and figures are medians.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import random
import sys
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Before the folder of this file, where data_prep is another benchmark.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from benchmarks.measuring import machine
from data_prep.atomic import write_json
from recsys_nas.model import InteractionArch
from recsys_nas.path_training import Path, PathAdagrad
from recsys_nas.search.dnas import GatedNetwork, Gating
from recsys_nas.search.path_sampling import single_operator_path
from recsys_nas.space import NAMED_SPACES, Architecture, SearchSpace
from recsys_nas.supernet import Supernet
from recsys_nas.training.computation import Computation, Computed

NUM_DENSE, NUM_SPARSE = 13, 26
TABLE_ROWS = 1000
RATE, EPSILON, LARGEST_NORM = 0.12, 1e-2, 5.0  # NASRec's: nasrec/scripts/train_supernet, nasrec/main_train.py
WARM_UP, STEPS = 3, 10

Step = Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(description="Steps of supernets against stand-alone networks and NASRec's supernet.")
    parser.add_argument("--json", type=pathlib.Path, required=True, help="where the figures go")
    parser.add_argument("--nasrec", type=pathlib.Path, help="a clone of NasRec")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each pair")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures: dict[str, Any] = {"machine": machine(["torch", "torchrec"]), "threads": options.threads, "repeats": options.repeats}
    figures |= gate_overhead(options.repeats) | path_overhead(options.repeats) | faster_steps(options.repeats)
    if options.nasrec:
        figures |= against_nasrec(options.nasrec, options.repeats)
    write_json(options.json, figures)
    print(json.dumps(figures, indent=2))


def gate_overhead(repeats: int) -> dict[str, Any]:
    space = SearchSpace(NUM_DENSE, NUM_SPARSE, 16, NAMED_SPACES["distdnas"])
    batch = Data(1024, 16)
    gated = GatedNetwork(space, lookup_flops=0, gating=Gating(), seed=0)
    plain = InteractionArch(space.full())
    weights = torch.optim.Adam(gated.supernet.parameters(), lr=1e-3, fused=True)
    alphas = torch.optim.Adam([gated.alphas], lr=1e-2, fused=True)
    number = 0

    def gates_on() -> None:
        nonlocal number
        for optimizer in (weights, alphas):
            optimizer.zero_grad()
        logits = gated(batch.dense, batch.tokens, number, slice(0, 1024), 1024)
        (F.binary_cross_entropy_with_logits(logits, batch.labels) + 1e-2 * gated.expected_cost_share()).backward()
        for optimizer in (weights, alphas):
            optimizer.step()
        number += 1

    seconds = in_turn({"gates_on": gates_on, "stand_alone": adam_step(plain, batch)}, repeats)
    return {"gate_overhead": seconds["gates_on"] / seconds["stand_alone"], "gate_seconds": seconds}


def path_overhead(repeats: int) -> dict[str, Any]:
    """Each repeat is another path. Adagrad on both sides: of the slice alone, and of the network that was taken out."""
    space = SearchSpace(NUM_DENSE, NUM_SPARSE, 16, NAMED_SPACES["nasrec_small"])
    supernet, batch, generator = Supernet(space.full()), Data(512, 16), random.Random(0)
    of_slices = PathAdagrad(supernet, 1e-3)
    ratios = []
    for _ in range(repeats):
        member = space.sample(generator)
        steps = {"path": path_step(supernet, of_slices, member, batch), "stand_alone": adagrad_step(supernet.extract(member), batch)}
        seconds = in_turn(steps, 1)
        ratios.append(seconds["path"] / seconds["stand_alone"])
    return {"path_overhead": median(ratios), "path_overheads": sorted(ratios)}


def faster_steps(repeats: int) -> dict[str, Any]:
    """The full network of `distdnas` in four ways, from the same weights; in the end each is judged in float32, on the same batch."""
    space = SearchSpace(NUM_DENSE, NUM_SPARSE, 16, NAMED_SPACES["distdnas"])
    batch = Data(4096, 16)
    ways = {
        "float32": Computation(),
        "bf16": Computation("bfloat16"),
        "compile": Computation(compile=True),
        "bf16_compile": Computation("bfloat16", compile=True),
    }
    networks, steps = {}, {}
    for name, computation in ways.items():
        torch.manual_seed(0)
        networks[name] = InteractionArch(space.full())
        steps[name] = adam_step(networks[name], batch, call=Computed(networks[name], computation))
    seconds = in_turn(steps, repeats)
    losses = {name: float(loss_of(network, batch).detach()) for name, network in networks.items()}
    speedups = {f"{name}_speedup": seconds["float32"] / seconds[name] for name in ways if name != "float32"}
    return speedups | {"faster_seconds": seconds, "loss_after_equal_steps": losses}


def against_nasrec(checkout: pathlib.Path, repeats: int) -> dict[str, Any]:
    batch = Data(512, 16)
    cases = {"nasrec": nasrec_step(checkout, batch), "ours": our_nasrec_small_step(batch)}
    seconds = in_turn(cases, repeats)
    return {"vs_nasrec": seconds["nasrec"] / seconds["ours"], "nasrec_seconds": seconds}


def nasrec_step(checkout: pathlib.Path, batch: Data) -> Step:
    sys.path.insert(0, str(checkout))
    from nasrec.supernet.supernet import SuperNet, ops_config_lib  # type: ignore[import-not-found]

    np.random.seed(0)
    network = SuperNet(
        num_blocks=7,
        ops_config=ops_config_lib["autoctr"],
        use_layernorm=True,
        activation="relu",
        num_embeddings=[TABLE_ROWS] * NUM_SPARSE,
        path_sampling_strategy="full-path",
        anypath_choice="binomial-0.5",
    )
    with torch.no_grad():
        network(batch.dense, batch.ids)
    network.configure_path_sampling_strategy("default")
    optimizer = torch.optim.Adagrad(network.parameters(), lr=RATE, eps=EPSILON)

    def step() -> None:
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(network(batch.dense, batch.ids).squeeze(1), batch.labels).backward()
        nn.utils.clip_grad_norm_(network.parameters(), LARGEST_NORM)
        optimizer.step()

    return step


def our_nasrec_small_step(batch: Data) -> Step:
    space = SearchSpace(NUM_DENSE, NUM_SPARSE, 16, NAMED_SPACES["nasrec_small"])
    supernet, generator = Supernet(space.full()), random.Random(0)
    tables = nn.ModuleList(nn.Embedding(TABLE_ROWS, 16) for _ in range(NUM_SPARSE))
    of_tables = torch.optim.Adagrad(tables.parameters(), lr=RATE, eps=EPSILON)
    of_network = PathAdagrad(supernet, RATE, EPSILON)

    def step() -> None:
        of_tables.zero_grad()
        path = Path(supernet, single_operator_path(space, generator))
        tokens = torch.stack([table(batch.ids[:, i]) for i, table in enumerate(tables)], dim=1)
        F.binary_cross_entropy_with_logits(path(batch.dense, tokens), batch.labels).backward()
        nn.utils.clip_grad_norm_([*tables.parameters(), *path.parameters()], LARGEST_NORM)
        of_tables.step()
        of_network.step(path)

    return step


def adam_step(network: nn.Module, batch: Data, call: Callable[..., Any] | None = None) -> Step:
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss_of(network if call is None else call, batch).backward()
        optimizer.step()

    return step


def path_step(supernet: Supernet, optimizer: PathAdagrad, member: Architecture, batch: Data) -> Step:
    def step() -> None:
        path = Path(supernet, member)
        loss_of(path, batch).backward()
        optimizer.step(path)

    return step


def adagrad_step(network: nn.Module, batch: Data) -> Step:
    optimizer = torch.optim.Adagrad(network.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        loss_of(network, batch).backward()
        optimizer.step()

    return step


def loss_of(network: Callable[..., Any], batch: Data) -> Tensor:
    return F.binary_cross_entropy_with_logits(network(batch.dense, batch.tokens), batch.labels)


class Data:
    """A batch of `rows` random rows, embeddings looked up already (`tokens`) and not (`ids`)."""

    def __init__(self, rows: int, dim: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.dense = torch.rand(rows, NUM_DENSE, generator=generator)
        self.tokens = torch.randn(rows, NUM_SPARSE, dim, generator=generator) / dim**0.5
        self.ids = torch.randint(TABLE_ROWS, (rows, NUM_SPARSE), generator=generator)
        self.labels = (torch.rand(rows, generator=generator) < 0.25).float()


def in_turn(cases: Mapping[str, Step], repeats: int) -> dict[str, float]:
    """Median seconds of a step of each case, after warm-up; the cases take turns, `STEPS` steps at a time."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for repeat in range(repeats):
        for name, step in cases.items():
            for _ in range(WARM_UP):
                step()
            for _ in range(STEPS):
                began = time.perf_counter()
                step()
                seconds[name].append(time.perf_counter() - began)
        medians = ", ".join(f"{name} {1e3 * median(taken):.1f} ms" for name, taken in seconds.items())
        print(f"{repeat + 1}/{repeats} {medians}", file=sys.stderr, flush=True)
    return {name: median(taken) for name, taken in seconds.items()}


if __name__ == "__main__":
    main()
