"""What the days of a search say together, as a few lines of text for the terminal."""

from __future__ import annotations

from data_prep.wording import counted
from recsys_nas.report.records import Record


def aggregate_text(alphas: Record) -> str:
    """The kept modules with their probability and its spread over days, how far days agree, and what a day more or less would change."""
    days, gates = alphas["days"], alphas["gates"]
    kept = [gate for gate in gates if gate["kept"]]
    lines = [
        f"{counted(len(days), 'day')}: {', '.join(map(str, days))}{_missing(alphas['missing_days'])}",
        f"{len(kept)} of {counted(len(gates), 'module')} kept by {_rule(alphas)}",
    ]
    width = max(len(_name(gate)) for gate in gates)
    lines += [f"  {_name(gate):<{width}}  {gate['probability']:.2f} ± {gate['std']:.2f}" for gate in kept]
    if alphas.get("kept_for_want_of_better"):
        lines.append(f"no module is above {alphas['cut']:g}; kept are the best that cost no more than all are expected to")
    lines += _agreement(alphas)
    trends = {_name(gate): gate["drift_per_day"] for gate in gates if _name(gate) in alphas.get("drifting", [])}
    lines += [f"{name} drifts: {per_day:+.3f} a day" for name, per_day in trends.items()]
    return "\n".join(lines)


def _rule(alphas: Record) -> str:
    # Strategies that go trial by trial rank whole networks instead of gates.
    if "discretise" not in alphas:
        return str(alphas["method"])
    rule = f"above {alphas['cut']:g}" if alphas["discretise"] == "threshold" else "the best"
    limited = alphas["discretise"] != "top_k" and alphas["target_flops"]
    limit = f" within {counted(alphas['target_flops'], 'dense FLOP')}" if limited else ""
    return f"{alphas['method']} {rule}{limit}"


def _missing(days: list[int]) -> str:
    return f"; missing: {', '.join(map(str, days))}" if days else ""


def _name(gate: Record) -> str:
    return f"{gate['block']}/{gate['module']}"


def _agreement(alphas: Record) -> list[str]:
    agreement = alphas["agreement"]
    if not agreement:
        return []
    tau = "none" if agreement["kendall_tau"] is None else f"{agreement['kendall_tau']:.2f}"
    lines = [f"agreement between days: Kendall's tau {tau}, Jaccard index of what each alone would keep {agreement['jaccard']:.2f}"]
    if "growth" in alphas:
        growth = ", ".join(f"{len(step['days'])}: {step['jaccard_to_all']:.2f}" for step in alphas["growth"])
        lines += [f"Jaccard index to all days, by number of days: {growth}", *_without_day(alphas)]
    return lines


def _without_day(alphas: Record) -> list[str]:
    """What each missing day would change, a line for each that would change anything."""
    changing = [
        f"without day {change['day']}: {' '.join([*(f'+{name}' for name in change['added']), *(f'-{name}' for name in change['removed'])])}"
        for change in alphas["without_day"]
        if change["added"] or change["removed"]
    ]
    return changing or ["no single day changes what is kept"]
