"""How long a search over many days takes on many workers, and what it costs: a model to be simulated, not a measurement.

A day's job takes `startup_seconds`, then `rows_per_day / rows_per_second` times a straggler's factor, drawn log-normal with median 1
and `spread` as standard deviation of its logarithm. An attempt fails with probability `failure_rate`, at a moment drawn evenly over its
work; what was done since the last checkpoint, `checkpoint_seconds / 2` on average, is lost, and the next attempt starts again after
`backoff_seconds` with the rest; after `retries` of those the day is given up. Workers take days in order as they get free (the queue of
launch/). When no day is left to wait for, aggregation takes `aggregation_seconds`. Retraining is not part of it. Device time is that in
which a job holds its devices.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

HOUR = 3600.0

# Rows a second of one job, by its GPUs: the published rates of TorchRec's DLRM on Criteo 1TB (A100 of 40 GB, batch 16384 in all).
# For the other devices no source says as much, so they are taken to be as fast; and a supernet is more work a row than a DLRM.
_DLRM_ON_A100: Mapping[int, float] = {1: 740_065, 4: 1_458_176, 8: 1_671_168}
ASSUMED_RATES: Mapping[str, Mapping[int, float]] = dict.fromkeys(("a100", "h100", "h200"), _DLRM_ON_A100)
SOURCE = "TorchRec's DLRM on A100 of 40 GB, github.com/facebookresearch/dlrm, torchrec_dlrm/README.MD"


@dataclass(frozen=True)
class Campaign:
    """A search to be simulated; times in seconds, `price` for an hour of one device. Raises ValueError for what cannot be."""

    days: int
    workers: int
    rows_per_day: float
    rows_per_second: float
    gpus: int = 1
    startup_seconds: float = 60.0
    spread: float = 0.1
    failure_rate: float = 0.02
    retries: int = 1
    checkpoint_seconds: float = 600.0
    backoff_seconds: float = 2.0
    aggregation_seconds: float = 5.0
    price: float = 0.0

    def __post_init__(self) -> None:
        for name in ("days", "workers", "rows_per_day", "rows_per_second", "gpus"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} = {getattr(self, name)}: must be finite and above 0")
        for name in ("startup_seconds", "spread", "retries", "checkpoint_seconds", "backoff_seconds", "aggregation_seconds", "price"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} = {getattr(self, name)}: must be finite and 0 or more")
        if not 0 <= self.failure_rate < 1:
            raise ValueError(f"failure_rate = {self.failure_rate}: must lie in [0, 1)")

    @property
    def day_seconds(self) -> float:
        """A day without straggling or failure."""
        return self.startup_seconds + self.rows_per_day / self.rows_per_second


@dataclass(frozen=True)
class Outcome:
    """One simulated search: seconds on the clock, hours of devices, and days given up."""

    wall_seconds: float
    device_hours: float
    days_lost: int


def simulate(campaign: Campaign, draw: random.Random) -> Outcome:
    """One search, its chances from `draw`."""
    free = [0.0] * campaign.workers
    held, lost = 0.0, 0
    for _ in range(campaign.days):
        begun = heapq.heappop(free)
        seconds, used, done = _day(campaign, draw)
        heapq.heappush(free, begun + seconds)
        held += used
        lost += not done
    return Outcome(max(free) + campaign.aggregation_seconds, held * campaign.gpus / HOUR, lost)


def _day(campaign: Campaign, draw: random.Random) -> tuple[float, float, bool]:
    """Seconds of one day with its failures, how many of them its devices were held, and whether it was done in the end."""
    left = campaign.rows_per_day / campaign.rows_per_second * math.exp(draw.gauss(0.0, campaign.spread))
    waited = held = 0.0
    for attempt in range(campaign.retries + 1):
        if draw.random() >= campaign.failure_rate:
            held += campaign.startup_seconds + left
            return waited + held, held, True
        worked = draw.uniform(0.0, left)
        held += campaign.startup_seconds + worked
        left -= max(0.0, worked - campaign.checkpoint_seconds / 2)
        waited += campaign.backoff_seconds * 2**attempt if attempt < campaign.retries else 0.0
    return waited + held, held, False


def figures(campaign: Campaign, times: int, seed: int) -> dict[str, float]:
    """What `times` simulated searches say: hours, shares and counts by name. `cost` is in the currency of `price`."""
    draw = random.Random(seed)
    outcomes = [simulate(campaign, draw) for _ in range(times)]
    walls = sorted(outcome.wall_seconds / HOUR for outcome in outcomes)
    hours = statistics.fmean(outcome.device_hours for outcome in outcomes)
    return {
        "day_hours": campaign.day_seconds / HOUR,
        "wall_hours_median": statistics.median(walls),
        "wall_hours_9_of_10": walls[int(0.9 * (len(walls) - 1))],
        "device_hours": hours,
        "workers_busy_share": hours / campaign.gpus / (campaign.workers * statistics.fmean(walls)),
        "days_given_up": statistics.fmean(outcome.days_lost for outcome in outcomes),
        "cost": hours * campaign.price,
    }


def summary(campaign: Campaign, told: Mapping[str, float]) -> list[tuple[str, str]]:
    """Name and value of each line about these `figures`."""
    median, most = told["wall_hours_median"], told["wall_hours_9_of_10"]
    lines = [
        ("a day, undisturbed", f"{told['day_hours']:.2f} h"),
        ("wall-clock", f"{median:.2f} h in the median, {most:.2f} h in 9 of 10 searches"),
        ("device-hours", f"{told['device_hours']:.1f}, workers busy {told['workers_busy_share']:.0%}".replace("%", " %")),
        ("days given up", f"{told['days_given_up']:.2f} of {campaign.days} on average"),
    ]
    return lines + ([("cost", f"{told['cost']:,.0f} at {campaign.price:g} an hour and device")] if campaign.price else [])


def assumed_rate(device: str, gpus: int) -> float:
    """Rows a second of a job on that device that nobody measured here. Raises ValueError where there is nothing to go by."""
    if device not in ASSUMED_RATES:
        raise ValueError(f"--device {device}: no rate is assumed for it; known: {', '.join(ASSUMED_RATES)}; or measure --rows-per-second")
    rates = ASSUMED_RATES[device]
    if gpus not in rates:
        counts = ", ".join(map(str, rates))
        raise ValueError(f"--gpus {gpus}: rates are assumed for {counts} of a {device} only; measure, and give --rows-per-second")
    return rates[gpus]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `recsys-nas simulate`."""
    parser.add_argument("--days", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True, help="jobs at once")
    parser.add_argument("--rows-per-day", type=float, required=True, help="e.g. 182e6, a day of Criteo 1TB")
    rate = parser.add_mutually_exclusive_group(required=True)
    rate.add_argument("--rows-per-second", type=float, help="of one job, as measured")
    rate.add_argument("--device", help=f"{', '.join(ASSUMED_RATES)}: assume a published rate (docs/scaling.md)")
    parser.add_argument("--gpus", type=int, default=1, help="devices of one job (default: 1)")
    parser.add_argument("--startup-seconds", type=float, default=60.0, help="of a job, before its first row (default: 60)")
    parser.add_argument("--spread", type=float, default=0.1, help="standard deviation of the logarithm of a day's time (default: 0.1)")
    parser.add_argument("--failure-rate", type=float, default=0.02, help="of an attempt (default: 0.02)")
    parser.add_argument("--retries", type=int, default=1, help="launch.retries (default: 1)")
    parser.add_argument("--checkpoint-seconds", type=float, default=600.0, help="between two checkpoints (default: 600)")
    parser.add_argument("--price", type=float, default=0.0, help="of a device for an hour, in any currency")
    parser.add_argument("--times", type=int, default=1000, help="simulated searches (default: 1000)")
    parser.add_argument("--seed", type=int, default=0)


def run_simulate(arguments: argparse.Namespace) -> None:
    """Print what the model says. Raises ValueError for options that cannot be."""
    options = {name: value for name, value in vars(arguments).items() if name in Campaign.__dataclass_fields__}
    if arguments.device:
        options["rows_per_second"] = assumed_rate(arguments.device, arguments.gpus)
    if arguments.times < 1:
        raise ValueError(f"--times {arguments.times}: must be 1 or more")
    campaign = Campaign(**options)
    told = figures(campaign, arguments.times, arguments.seed)
    assumed = {"rows_per_second": campaign.rows_per_second, "rows_per_second_assumed_from": SOURCE} if arguments.device else {}
    if arguments.json:
        print(json.dumps({**assumed, **told}, indent=2))
        return
    lines = [("rows/s of a job", f"{campaign.rows_per_second:,.0f}, ASSUMED: that of {SOURCE}")] if assumed else []
    lines += summary(campaign, told)
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        print(f"{name:<{width}}  {value}")
