"""What made a module kept or dropped, in words: the rule of the aggregate, and where its border ran."""

from __future__ import annotations

from data_prep.wording import counted
from recsys_nas.report.records import Record

_SCORES = {
    "mean": "its mean probability",
    "logit_mean": "the probability of its mean logit",
    "recency": "its mean probability, late days counting more,",
    "majority": "the share of days that would keep it",
}


def kept_when(alphas: Record) -> str:
    """The end of `a module is kept when ...`; of a search that goes trial by trial too."""
    if "strategy" in alphas:
        return "the network chosen in the end has it"
    score, rule = _SCORES[alphas.get("method", "mean")], alphas.get("discretise", "threshold")
    if rule == "top_k":
        kept = sum(gate["kept"] for gate in alphas["gates"])
        return f"{score} is {'the highest' if kept == 1 else f'among the {kept} highest'}"
    target = alphas.get("target_flops")
    fits = f"it fits {counted(target, 'dense FLOP')} beside better ones" if target else ""
    if rule == "budget":
        return fits
    none = (
        "; here none is, and the best that cost no more than all are expected to are kept" if alphas.get("kept_for_want_of_better") else ""
    )
    return f"{score} is above {alphas.get('cut', alphas['threshold']):g}{f', and {fits}' if fits else ''}{none}"


def border(alphas: Record) -> tuple[float, str]:
    """The probability between kept and dropped, and its name: the threshold, or the middle between the last kept and the first dropped
    below it."""
    threshold = alphas["threshold"], f"the threshold {alphas['threshold']:g}"
    if alphas.get("discretise", "threshold") == "threshold":
        return threshold
    last = min((gate["probability"] for gate in alphas["gates"] if gate["kept"]), default=None)
    dropped = [gate["probability"] for gate in alphas["gates"] if not gate["kept"] and last is not None and gate["probability"] <= last]
    if last is None or not dropped:
        return threshold
    middle = (last + max(dropped)) / 2
    return middle, f"the border between kept and dropped, {middle:.2f}"
