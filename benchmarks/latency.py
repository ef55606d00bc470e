"""Does cost by formula rank networks as a CPU does? Measured latency against FLOPs and the roofline on random architectures.

    python benchmarks/latency.py --json OUT

One core, eager float32, no lookups: 50 networks of each space over Criteo's columns and embeddings of 16, at batches of 1, 64 and 1,024.
First the core's own peak and bandwidth are measured, which are the roofline's. Every network is timed once a round, so that what
slows the machine down for a while slows all; a latency is the median over rounds. Prints and writes Spearman's and Kendall's rank
correlation with 95 % percentile-bootstrap intervals over networks. About three minutes on a quiet core.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau, spearmanr  # type: ignore[import-untyped]
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import machine
from data_prep.atomic import write_json
from embeddings.lookup_cost import LookupCost
from recsys_nas.cost.devices import DeviceProfile
from recsys_nas.cost.serving import LOOKUP, ServingCost, serving_cost
from recsys_nas.model import InteractionArch
from recsys_nas.space import NAMED_SPACES, SearchSpace

SIZES = (13, 26, 16)
BATCHES = (1, 64, 1024)
NO_LOOKUPS = LookupCost(0.0, 0, 0, 0)
# A reading of a few microseconds would be one of the clock.
SECONDS_A_READING = 0.01
RESAMPLES = 2000


@dataclass(frozen=True)
class Network:
    """One architecture of a space, built, with what it costs."""

    model: InteractionArch
    cost: ServingCost

    def roofline_seconds(self, device: DeviceProfile, batch: int) -> float:
        return sum(self.cost.roofline(part, device, batch).seconds for part in self.cost.parts if part.module != LOOKUP)


def measured_profile() -> DeviceProfile:
    """Peak and bandwidth of one core as PyTorch gets them: the best of some large matrix products and of some large copies."""
    peaks = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        left, right = torch.randn(2048, 1024, dtype=dtype), torch.randn(1024, 1024, dtype=dtype)
        product = partial(torch.mm, left, right, out=torch.empty(2048, 1024, dtype=dtype))
        peaks[name] = 2 * 2048 * 1024 * 1024 / min(seconds(product) for _ in range(7))
    source, target = torch.randn(2**26), torch.empty(2**26)
    bandwidth = 2 * 4 * 2**26 / min(seconds(lambda: target.copy_(source)) for _ in range(7))
    return DeviceProfile("cpu", "one core of this machine", peaks, bandwidth, "measured")  # type: ignore[arg-type]


def seconds(work: Callable[[], object], repeats: int = 1) -> float:
    """Mean time of one call, over `repeats`: processor time, which is the wall's on a quiet core and less touched by neighbours."""
    began = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - began) / repeats


def draw(space: str, count: int, seed: int) -> list[Network]:
    """Different random members of a named space."""
    generator = random.Random(seed)
    space_over_criteo = SearchSpace(*SIZES, NAMED_SPACES[space])
    found: dict[str, Network] = {}
    while len(found) < count:
        architecture = space_over_criteo.sample(generator)
        found.setdefault(architecture.key(), Network(InteractionArch(architecture).eval(), serving_cost(architecture, NO_LOOKUPS)))
    return list(found.values())


def latencies(networks: Sequence[Network], batch: int, rounds: int) -> list[float]:
    """Median seconds a batch of each network."""
    dense, tokens = torch.randn(batch, SIZES[0]), torch.randn(batch, *SIZES[1:])

    def forward(network: Network) -> Callable[[], Tensor]:
        return lambda: network.model(dense, tokens)

    calls = [forward(network) for network in networks]
    repeats = [max(1, round(SECONDS_A_READING / max(seconds(call, 2), 1e-6))) for call in calls]
    readings = [[seconds(call, times) for call, times in zip(calls, repeats, strict=True)] for _ in range(rounds)]
    return [median(column) for column in zip(*readings, strict=True)]


def correlation(predicted: Sequence[float], measured: Sequence[float], seed: int) -> dict[str, Any]:
    """Spearman's and Kendall's rank correlation, each with the bounds of its bootstrap interval."""
    x, y = np.array(predicted), np.array(measured)
    generator = np.random.default_rng(seed)
    draws = [generator.integers(0, len(x), len(x)) for _ in range(RESAMPLES)]
    result = {}
    for name, rank in (("spearman", spearmanr), ("kendall", kendalltau)):
        low, high = np.nanpercentile([rank(x[rows], y[rows]).statistic for rows in draws], [2.5, 97.5])
        result[name] = {"value": float(rank(x, y).statistic), "low": float(low), "high": float(high)}
    return result


def judge(space: str, batch: int, networks: Sequence[Network], measured: Sequence[float], device: DeviceProfile) -> dict[str, Any]:
    """How each predictor ranks the networks of one space at one batch size."""
    predictors = {
        "flops": [float(network.cost.dense_flops) for network in networks],
        "roofline": [network.roofline_seconds(device, batch) for network in networks],
        "parameters": [float(network.cost.parameters) for network in networks],
    }
    share = median(p / m for p, m in zip(predictors["roofline"], measured, strict=True))
    ranks = {name: correlation(values, measured, seed=0) for name, values in predictors.items()}
    for name, rank in ranks.items():
        spearman, kendall = rank["spearman"], rank["kendall"]
        print(
            f"{space:<12} batch {batch:>5} {name:<10} Spearman {spearman['value']:.3f} [{spearman['low']:.3f}, {spearman['high']:.3f}] "
            f"Kendall {kendall['value']:.3f} [{kendall['low']:.3f}, {kendall['high']:.3f}]",
            flush=True,
        )
    print(f"{space:<12} batch {batch:>5} the roofline is {share:.0%} of the measured time (median)", flush=True)
    rows = [{name: values[i] for name, values in predictors.items()} | {"seconds": measured[i]} for i in range(len(networks))]
    return {"space": space, "batch": batch, "ranks": ranks, "roofline_share": share, "networks": rows}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--spaces", nargs="+", default=["nasrec_full", "dhen"], choices=sorted(NAMED_SPACES))
    ask.add_argument("--count", type=int, default=50, help="networks of each space (default 50)")
    ask.add_argument("--rounds", type=int, default=3, help="readings of each (default 3)")
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--json", type=Path, required=True, help="where to write the figures")
    arguments = ask.parse_args()
    where = machine(("torch", "numpy", "scipy"))
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    device = measured_profile()
    print(f"one core: {device.flops['float32'] / 1e9:.0f} GFLOP/s in float32, {device.bandwidth / 1e9:.1f} GB/s", flush=True)
    results = []
    with torch.inference_mode():
        for space in arguments.spaces:
            networks = draw(space, arguments.count, arguments.seed)
            for batch in BATCHES:
                results.append(judge(space, batch, networks, latencies(networks, batch, arguments.rounds), device))
    profile = {"flops": dict(device.flops), "bandwidth": device.bandwidth}
    write_json(arguments.json, {"machine": where, "profile": profile, "seed": arguments.seed, "results": results})


if __name__ == "__main__":
    main()
