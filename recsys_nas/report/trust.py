"""What speaks for a result and what does not: checks with their figures, and what nobody measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from data_prep.wording import counted
from recsys_nas.report.kept_rule import border
from recsys_nas.report.quantities import share
from recsys_nas.report.records import FOUND, RunRecords
from recsys_nas.space import Gate, space_from_config

# Rules of thumb, not tests: they only decide which mark stands before a line whose figures are given
_AGREEING = 0.7
_CALIBRATED = 0.02
_ENOUGH_SEEDS = 3
_NAMED = 3
_AHEAD = 90
_NO_REPRODUCTION = (
    "This is an implementation of the idea of DistDNAS, not a reproduction: it was built from the abstract, with formulas of its own."
)


State = Literal["good", "caution", "note"]


@dataclass(frozen=True)
class Check:
    """One line of evidence; `state` is the mark before it."""

    state: State
    title: str
    text: str


def checks(run: RunRecords) -> list[Check]:
    """Evidence for and against the verdict, from the records of the run alone."""
    decided = [*_for_want_of_better(run), _days(run), *_drift(run), _close_calls(run), *_decoys(run)]
    return [*_edited(run), *_missing_days(run), _seeds(run), *decided, *_random(run), _calibration(run), *_ceiling(run), *_test_set(run)]


def limits(run: RunRecords) -> list[str]:
    """What the run did not measure, in plain sentences."""
    seeds = len(run.results["models"][0]["seeds"])
    lines = [
        *([_NO_REPRODUCTION] if "strategy" not in run.alphas else []),
        f"Intervals cover {counted(seeds, 'retraining seed')} only.",
        f"The search ran once, with seed {run.config.seed}: another seed or other days may derive another network.",
        "All models share one set of training settings; none was tuned for itself.",
        "FLOPs and bytes are exact counts for one example, not times: latency and throughput of serving were not measured.",
    ]
    if missing := _missing_controls(run):
        lines.append(f"Controls not run: {', '.join(missing)}.")
    if run.config.data.truth:
        lines.insert(0, "The logs are synthetic, with planted interactions. An order of models found on them need not hold on real logs.")
    return [*lines, *run.results.get("notes", [])]


def is_edited(run: RunRecords) -> bool:
    """Whether the architecture is another than the kept gates make, as it is once a person has changed the file. What trials chose has no
    gates to hold it against."""
    if "strategy" in run.alphas:
        return False
    network, kept = run.architecture, [Gate(gate["block"], gate["module"]) for gate in run.alphas["gates"] if gate["kept"]]
    try:
        space = space_from_config(run.config.space, network.num_dense, network.num_sparse, network.embedding_dim)
        return space.architecture(kept).key() != network.key()
    except ValueError:  # such as a gate that the space has not
        return True


def _edited(run: RunRecords) -> list[Check]:
    if not is_edited(run):
        return []
    made = "architecture.json is not what the kept gates make: it was edited since."
    return [
        Check(
            "caution", "Edited by hand", f"{made} The figures of found are those of the edited network; gates and days are of the search."
        )
    ]


def _missing_controls(run: RunRecords) -> list[str]:
    done = {
        "random networks at equal FLOPs": run.results.get("random"),
        "the network of a single day, retrained": None,
        "one sequential search over all days": (run.folder / "sequential" / "alphas.json").exists(),
        "decoy modules": run.alphas.get("decoys"),
        "searches under other prices": run.sweep,
    }
    return [name for name, record in done.items() if not record]


def _seeds(run: RunRecords) -> Check:
    seeds = len(run.results["models"][0]["seeds"])
    if seeds == 1:
        return Check("caution", "Seeds", "One seed. Nothing here can tell a difference between models from chance.")
    state: State = "good" if seeds >= _ENOUGH_SEEDS else "caution"
    few = "" if state == "good" else ", and so few seeds make them wide"
    return Check(state, "Seeds", f"{seeds} seeds for every model, compared seed by seed; intervals are Student's t at 95 %{few}.")


def _days(run: RunRecords) -> Check:
    agreement = run.alphas["agreement"]
    if not agreement:
        return Check("caution", "Days", "One day was searched, so there is no agreement between days to look at.")
    tau, jaccard = agreement["kendall_tau"], agreement["jaccard"]
    ranked = "No two days rank gates in a way to compare"
    if tau is not None:
        ranked = f"Kendall's τ between the days' rankings of gates is {tau:.2f}"
    text = f"{ranked}, the Jaccard index of the modules they would keep is {jaccard:.2f} (1: all days agree)."
    return Check("good" if tau is not None and min(tau, jaccard) >= _AGREEING else "caution", "Days", text)


def _for_want_of_better(run: RunRecords) -> list[Check]:
    if not run.alphas.get("kept_for_want_of_better"):
        return []
    target = run.alphas.get("target_flops")
    none = f"no module is above {run.alphas['cut']:g}" + (f" and fits {counted(target, 'dense FLOP')}" if target else "")
    text = (
        f"The search kept nothing on its merits: {none}; kept are the best ones that together cost "
        "no more FLOPs than all are expected to. More rows a day may decide more; a smaller search.cost_weight, or a larger "
        "search.target_flops, asks for more."
    )
    return [Check("caution", "Nothing found", text)]


def _drift(run: RunRecords) -> list[Check]:
    """Silent where the aggregate tells no trends: it needs five days."""
    if not any("drift_p" in gate for gate in run.alphas["gates"]):
        return []
    if drifting := run.alphas.get("drifting", []):
        return [Check("caution", "Drift", f"From day to day these gates move one way, more than by chance: {_some(drifting)}.")]
    return [Check("good", "Drift", "No gate moves one way from day to day more than by chance.")]


def _decoys(run: RunRecords) -> list[Check]:
    decoys = run.alphas.get("decoys", [])
    if not decoys:
        return []
    highest = max(decoy["probability"] for decoy in decoys)
    survived = [f"{decoy['module']} in block {decoy['block']} ({decoy['probability']:.2f})" for decoy in decoys if decoy["survived"]]
    if survived:
        text = f"Modules fed the features of other rows cannot help, yet the search keeps {_some(survived)}: do not believe it."
        return [Check("caution", "Decoys", text)]
    were = counted(len(decoys), "module was", "modules were")
    text = f"{were} fed the features of other rows, which cannot help; none is kept, the highest p is {highest:.2f}."
    return [Check("good", "Decoys", text)]


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _random(run: RunRecords) -> list[Check]:
    random = run.results.get("random")
    if not random:
        return []
    ahead, networks = random["percentile_vs_random"], counted(random["count"], "random network")
    text = (
        f"{FOUND} is ahead of {ahead:.0f} % of {networks} at its FLOPs, trained alike with seed {random['seed']}: "
        f"AUC {random['found_auc']:.4f} against {random['auc_median']:.4f} in the median and {random['auc_best']:.4f} at best."
    )
    return [Check("good" if ahead >= _AHEAD else "caution", "Random networks", text)]


def _missing_days(run: RunRecords) -> list[Check]:
    missing, searched = run.alphas.get("missing_days", []), run.alphas["days"]
    if not missing:
        return []
    named = f"day {missing[0]}" if len(missing) == 1 else f"days {', '.join(map(str, missing))}"
    text = f"The architecture is that of {counted(len(searched), 'day')}, without {named}, whose search failed or which was left out."
    return [Check("caution", "Missing days", text)]


def _close_calls(run: RunRecords) -> Check:
    gates, (middle, named_border) = run.alphas["gates"], border(run.alphas)
    close = [g for g in gates if abs(g["probability"] - middle) <= g["std"]]
    undecided = run.alphas["undecided_share"]
    of_all = "All" if undecided == 1 else share(undecided) if undecided else "None"
    text = f"{of_all} of the gates {'are' if undecided else 'is'} undecided, near one half."
    if close:
        named = [f"{g['module']} in block {g['block']} ({g['probability']:.2f} ± {g['std']:.2f})" for g in close]
        return Check("caution", "Gates", f"{text} Within their spread over days of {named_border}: {_some(named)}.")
    state: State = "caution" if undecided else "good"
    return Check(state, "Gates", f"{text} Every gate lies farther from {named_border} than it spreads over days.")


def _calibration(run: RunRecords) -> Check:
    value = run.results["models"][0]["calibration"]
    return Check(
        "good" if abs(value - 1) <= _CALIBRATED else "caution",
        "Calibration",
        f"{FOUND} predicts {value:.3f} times the clicks observed on the rows it is judged by.",
    )


def _ceiling(run: RunRecords) -> list[Check]:
    bayes, found = run.results["bayes"], run.results["models"][0]
    if not bayes:
        return []
    gap = bayes["auc"] - found["auc"]
    if gap < 0:
        return [Check("caution", "Ceiling", f"AUC lies {-gap:.4f} above the Bayes-optimal {bayes['auc']:.4f}: look for leaked labels.")]
    text = f"AUC lies {gap:.4f} below the Bayes-optimal {bayes['auc']:.4f}, which no model can pass but by chance."
    reached = ", ".join(f"{figures['auc']:.4f} (order {order})" for order, figures in bayes["by_order"].items())
    if reached:
        text += f" The best from effects up to an order of interaction: {reached}."
    return [Check("note", "Ceiling", text)]


def _test_set(run: RunRecords) -> list[Check]:
    test = run.results["test"]
    if test.get("auc_sampling_ci95") is None:
        return [Check("caution", "Test set", "The test rows are of one class only.")]
    return [
        Check(
            "note",
            "Test set",
            f"{counted(test['rows'], 'row')}, {counted(test['positives'], 'click')}. Another test set of this size would move one model's "
            f"AUC by about ± {test['auc_sampling_ci95']:.4f}; models see the same rows, so their differences move less.",
        )
    ]
