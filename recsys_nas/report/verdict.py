"""Says in words what the comparison showed, and claims no more than the intervals carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recsys_nas.report.quantities import at_share, share, signed, with_interval
from recsys_nas.report.records import FOUND, Record

Outcome = Literal["wins", "ties", "loses", "one seed", "alone"]

# a cheaper model is worth a word from this saving on; below it, costs are the same for any purpose
_CHEAPER = 0.98


@dataclass(frozen=True)
class Verdict:
    """`headline` is a short sentence, `detail` the figures behind it, `shortfalls` where found falls behind; all end in a full stop."""

    outcome: Outcome
    headline: str
    detail: str
    shortfalls: str

    @property
    def sentence(self) -> str:
        return f"{self.headline} {self.detail} {self.shortfalls}".strip()


def judge(results: Record) -> Verdict:
    """Set `found` against the best of the other models (by AUC) in `results`, as `write_results` makes them."""
    found, *others = results["models"]
    if not others:
        return Verdict("alone", f"{FOUND} was retrained alone, so there is nothing to compare it with.", f"AUC {_auc(found)}.", "")
    best = others[0]
    outcome = _outcome(best["vs_found"], "auc")
    return Verdict(outcome, _headline(outcome, best), _detail(found, others), _shortfalls(others))


def _outcome(pairing: Record, metric: Literal["auc", "logloss"]) -> Outcome:
    difference, half_width = pairing[f"{metric}_diff"], pairing[f"{metric}_diff_ci95"]
    if half_width is None:
        return "one seed"
    if abs(difference) <= half_width:
        return "ties"
    return "wins" if (difference > 0) == (metric == "auc") else "loses"


def _headline(outcome: Outcome, best: Record) -> str:
    ratio = best["vs_found"]["dense_flops_ratio"]
    cost = "" if ratio is None else f", {at_share(ratio, 'dense FLOPs')}"
    name = f"{best['name']}, the best of the other models"
    if outcome == "one seed":
        return f"One seed cannot tell {FOUND} from {name}{cost.replace(' its', ' the latter’s')}."
    verb = {"wins": "beats", "ties": "ties with", "loses": "loses to"}[outcome]
    return f"{FOUND} {verb} {name}{cost}."


def _detail(found: Record, others: list[Record]) -> str:
    best = others[0]
    pairing = best["vs_found"]
    seeds = len(pairing["seeds"])
    difference = with_interval(signed(pairing["auc_diff"]), pairing["auc_diff_ci95"])
    spread = {
        "one seed": "with no interval from a single seed",
        "ties": f"95 % over {seeds} paired seeds, an interval that holds 0",
    }.get(_outcome(pairing, "auc"), f"95 % over {seeds} paired seeds")
    beaten = [_difference(model, "auc") for model in others[1:] if _outcome(model["vs_found"], "auc") == "wins"]
    also = f" In AUC it {'also ' if _outcome(pairing, 'auc') == 'wins' else ''}beats {_and(beaten)}." if beaten else ""
    return f"AUC {found['auc']:.4f} against {best['auc']:.4f}: {difference} ({spread}).{also}"


def _shortfalls(others: list[Record]) -> str:
    """Every model that is shown to be better, and every one that is cheaper; silence is not an option."""
    sentences = []
    worse_auc = [_difference(model, "auc") for model in others[1:] if _outcome(model["vs_found"], "auc") == "loses"]
    if worse_auc:
        sentences.append(f"In AUC it {'also ' if _outcome(others[0]['vs_found'], 'auc') == 'loses' else ''}loses to {_and(worse_auc)}.")
    worse_logloss = [_difference(model, "logloss") for model in others if _outcome(model["vs_found"], "logloss") == "loses"]
    if worse_logloss:
        sentences.append(f"In log loss it loses to {_and(worse_logloss)}.")
    cheaper = [_cheaper(model) for model in others if (model["vs_found"]["dense_flops_ratio"] or 0) * _CHEAPER > 1]
    if cheaper:
        sentences.append(f"Cheaper than {FOUND}: {_and(cheaper)}.")
    if sentences:
        return " ".join(sentences)
    if _outcome(others[0]["vs_found"], "auc") == "one seed":
        return "No other model needs fewer dense FLOPs."
    beaten = "is shown to be better in AUC or log loss, and none" if _outcome(others[0]["vs_found"], "auc") != "loses" else ""
    return f"No other model {beaten} needs fewer dense FLOPs.".replace("  ", " ")


def _difference(model: Record, metric: Literal["auc", "logloss"]) -> str:
    pairing = model["vs_found"]
    return f"{model['name']} ({with_interval(signed(pairing[f'{metric}_diff']), pairing[f'{metric}_diff_ci95'])})"


def _cheaper(model: Record) -> str:
    pairing = model["vs_found"]
    outcome = {"wins": "lower", "loses": "higher", "ties": "not shown to differ", "one seed": "from one seed"}[_outcome(pairing, "auc")]
    difference = signed(-pairing["auc_diff"])
    return f"{model['name']} ({share(1 / pairing['dense_flops_ratio'])} of its dense FLOPs, AUC {difference}, {outcome})"


def _auc(model: Record) -> str:
    return with_interval(f"{model['auc']:.4f}", model["auc_ci95"])


def _and(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
