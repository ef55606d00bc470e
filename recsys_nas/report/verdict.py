"""Says in words what the comparison showed, and claims no more than the intervals carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recsys_nas.report.quantities import at_share, share, signed, with_interval
from recsys_nas.report.records import FOUND, Record
from recsys_nas.zoo.catalogue import REFINED

Outcome = Literal["wins", "ties", "loses", "one seed", "alone"]

# a cheaper model is worth a word from this saving on; below it, costs are the same for any purpose
_CHEAPER = 0.98
# figures of more models than these are left to the table
_FEW = 3


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
    """Set `found` against the best of the other models (by AUC) in `results`, as `write_results` makes them; `refined` is no rival."""
    found, *others = (model for model in results["models"] if model["name"] != REFINED)
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
        return f"From one seed nobody can tell whether {FOUND} beats {name}{cost}."
    verb = {"wins": "beats", "ties": "is not told apart from", "loses": "loses to"}[outcome]
    return f"{FOUND} {verb} {name}{cost}."


def _detail(found: Record, others: list[Record]) -> str:
    """The figures of the comparison with the best, and which of the rest are beaten."""
    best, *rest = others
    pairing = best["vs_found"]
    outcome = _outcome(pairing, "auc")
    seeds = len(pairing["seeds"])
    difference = with_interval(signed(pairing["auc_diff"]), pairing["auc_diff_ci95"])
    spread = {
        "one seed": "with no interval from a single seed",
        "ties": f"95 % over {seeds} paired seeds, an interval that holds 0",
    }.get(outcome, f"95 % over {seeds} paired seeds")
    beaten = [model for model in rest if _outcome(model["vs_found"], "auc") == "wins"]
    also = f" In AUC it {'also ' if outcome == 'wins' else ''}beats {_list(beaten, 'auc')}." if beaten else ""
    return f"AUC {found['auc']:.4f} against {best['auc']:.4f}: {difference} ({spread}).{also}"


def _shortfalls(others: list[Record]) -> str:
    """Every model that is shown to be better, and every one that is cheaper; silence is not an option."""
    best, *rest = others
    outcome = _outcome(best["vs_found"], "auc")
    better_auc = [model for model in rest if _outcome(model["vs_found"], "auc") == "loses"]
    better_logloss = [model for model in others if _outcome(model["vs_found"], "logloss") == "loses"]
    cheaper = [model for model in others if (model["vs_found"]["dense_flops_ratio"] or 0) * _CHEAPER > 1]
    sentences = []
    if better_auc:
        sentences.append(f"In AUC it {'also ' if outcome == 'loses' else ''}loses to {_list(better_auc, 'auc')}.")
    if better_logloss:
        sentences.append(f"In log loss it loses to {_list(better_logloss, 'logloss')}.")
    elif outcome in ("wins", "ties") and not better_auc:
        none_cheaper = "" if cheaper else ", and none needs fewer dense FLOPs"
        return " ".join([f"No other model is shown to be better in AUC or log loss{none_cheaper}.", *_cheaper(cheaper)])
    sentences += _cheaper(cheaper) or ["No other model needs fewer dense FLOPs."]
    return " ".join(sentences)


def _list(models: list[Record], metric: Literal["auc", "logloss"]) -> str:
    """Names with their differences, or names alone where there are many."""
    if len(models) > _FEW:
        return _and([model["name"] for model in models])
    differences = [(model["vs_found"][f"{metric}_diff"], model["vs_found"][f"{metric}_diff_ci95"]) for model in models]
    return _and([f"{m['name']} ({with_interval(signed(value), half)})" for m, (value, half) in zip(models, differences, strict=True)])


def _cheaper(models: list[Record]) -> list[str]:
    """One sentence for each way in which cheaper models compare in AUC, seen from their side."""
    wordings = {"loses": ", at a higher AUC", "ties": ", at an AUC not shown to differ", "wins": ", at a lower AUC", "one seed": ""}
    sentences = []
    for outcome, wording in wordings.items():
        names = [_cost(model) for model in models if _outcome(model["vs_found"], "auc") == outcome]
        if names:
            sentences.append(f"Cheaper than {FOUND}{wording}: {_and(names)}.")
    return sentences


def _cost(model: Record) -> str:
    pairing = model["vs_found"]
    return f"{model['name']} ({share(1 / pairing['dense_flops_ratio'])} of its dense FLOPs, AUC {signed(-pairing['auc_diff'])})"


def _auc(model: Record) -> str:
    return with_interval(f"{model['auc']:.4f}", model["auc_ci95"])


def _and(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
