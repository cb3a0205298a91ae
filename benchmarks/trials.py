"""The tuning of every model: as many trials each, on the same validation, with one rule of choice; and what is so chosen, on test.

    python benchmarks/trials.py [--folder results/trials] [--only LOG ...] [--families FAMILY ...] [--done] [--write]

A trial is one setting of one family, fitted on train (seed 1) and judged by recall@20 + 2 MRR@20 of every prediction of validation. The
first is the default, of GRU4Rec the published parameters, of session-kNN the defaults that it first had (`FIRST_DEFAULTS`, which are no
published setting), and of item-to-item both directions; the others are drawn from a space with a seed of their own, so that a trial is the
same whenever it is made. GRU4Rec, whose training is dear, gets four trainings, the published parameters and what restrains a network, each
as it is and with three averages of the weights after each epoch. The best trial is taken if the 95% interval of its difference to the
first, by paired bootstrap over sessions, lies above zero; otherwise the first. The interval is not widened for the best being one of 16.
Models over models combine what GRU4Rec, session-kNN and item-to-item took.

What was done is kept in --folder, so that an interrupted call goes on; --done makes nothing and tells what is there, trials that are
missing included. --write writes benchmarks/trials.md.
"""

import argparse
import json
import sys
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.accuracy import ENTRIES, LOGS, PAIRS, Entry, Log  # noqa: E402
from benchmarks.conformance import RETAILROCKET  # noqa: E402
from benchmarks.neighbours import FIRST_DEFAULTS  # noqa: E402
from benchmarks.variants import epochs  # noqa: E402
from benchmarks.variants_knn import drawn as drawn_neighbours  # noqa: E402
from recsys.evaluation.bootstrap import paired_difference  # noqa: E402
from recsys.evaluation.ranking import gains, rank_targets  # noqa: E402
from recsys.files import read_json, write_json  # noqa: E402
from recsys.models.candidates import Candidates  # noqa: E402
from recsys.models.combined import stage_starts  # noqa: E402
from recsys.models.gru4rec import GRU4Rec  # noqa: E402
from recsys.models.interface import FitData  # noqa: E402
from recsys.models.registry import load_model, model_class  # noqa: E402
from recsys.models.scores import EXCLUDED, prefixes  # noqa: E402
from recsys.settings.gru4rec import GRU4RecParameters  # noqa: E402
from recsys.training.averaging import moving_average  # noqa: E402
from recsys.training.hardware import use_threads  # noqa: E402

FAMILIES = {
    "popularity": "popularity",
    "item_to_item": "item-to-item",
    "session_knn": "session-kNN",
    "gru4rec": "GRU4Rec",
    "blend": "blend",
    "reranker": "re-ranker",
}
"""The families, and the rows of the comparison that they are."""
CHANGES: tuple[dict[str, Any], ...] = ({}, {"layers": [128]}, {"dropout_embedding": 0.65}, {"layers": [128], "dropout_embedding": 0.65})
"""What GRU4Rec's trainings change of the published parameters: the two single changes that lifted rsc15_100k most, and both together
(docs/decisions/0012-beyond-the-published-parameters.md)."""
AVERAGES = (0.0, 0.5, 0.7, 0.85)
TRIALS = 16
LONGEST = 150
"""Items that a member lists at most."""
RESAMPLES = 1_000


def worth(ranks: np.ndarray) -> np.ndarray:
    """What each prediction adds to the objective, recall@20 + 2 MRR@20."""
    return gains("recall@20", ranks) + 2 * gains("mrr@20", ranks)


def scaled(random: np.random.Generator, low: float, high: float) -> float:
    """A number between the two, to two digits, its logarithm drawn evenly."""
    return float(f"{np.exp(random.uniform(np.log(low), np.log(high))):.2g}")


def drawn(family: str, number: int) -> dict[str, Any]:
    """The parameters of a trial of a family without a training of its own; what the first is, the module says."""
    random = np.random.default_rng([1, number])

    def one_of(*values: Any) -> Any:
        return values[random.integers(len(values))]

    if family == "popularity":
        return {"window": None if number == 0 else f"{scaled(random, 6, 24 * 120):g}h"}
    if family == "item_to_item":
        if number == 0:
            return {"direction": "both"}
        names = {"direction": one_of("forward", "both"), "reach": one_of(1, 2, 3, 5, 10, 20)}
        return names | {"last_items": one_of(1, 2, 3, 5, 10), "neighbours": one_of(50, 200, 500, 2_000)}
    if family == "session_knn":
        return FIRST_DEFAULTS if number == 0 else drawn_neighbours(random)
    if number == 0:
        return {}
    parameters = {
        "method": one_of("stacking", "scores", "reciprocal_rank"),
        "candidates": one_of(50, 100, LONGEST),
        "by_length": one_of(True, False),
        "rank_constant": scaled(random, 1, 60),
        "penalty": scaled(random, 0.5, 50),
    }
    if family == "reranker":
        parameters |= {
            "method": "stacking",
            "depth": one_of(50, 100, LONGEST),
            "rounds": one_of(75, 150, 300),
            "leaves": one_of(7, 15, 31, 63),
            "learning_rate": one_of(0.025, 0.05, 0.1),
            "least_in_leaf": one_of(30, 100, 300),
            "feature_share": one_of(0.4, 0.7, 1.0),
        }
    return parameters


class Tuning:
    """The trials of one log, and the models that they chose."""

    def __init__(self, name: str, folder: Path, threads: int, only_done: bool = False) -> None:
        self.log = Log(name, folder / "models", threads, [1], {})
        self.folder, self.only_done = folder / name, only_done
        self.folder.mkdir(parents=True, exist_ok=True)

    def entry(self, family: str) -> Entry:
        """The model that a family's trials chose."""
        row = FAMILIES[family]
        if row not in self.log.entries:
            parameters = {self.log.name: self.choice(family)["parameters"]}
            members = ENTRIES[row].members
            for name in members:
                self.entry(ENTRIES[name].family)
            self.log.entries[row] = Entry(row, family, parameters, members)
        return self.log.entries[row]

    @cached_property
    def data(self) -> FitData:
        return self.log.data("select")

    @cached_property
    def sessions(self) -> np.ndarray:
        """The session of each prediction."""
        return self.data.valid.targets().session

    def done(self, family: str, number: int) -> tuple[dict[str, Any], np.ndarray]:
        """A trial's parameters and ranks, made where it was not yet."""
        kept = self.folder / f"{family}.{number}.json"
        if not kept.is_file():
            begin = time.perf_counter()
            if family == "gru4rec":
                self.train(number // len(AVERAGES))
            else:
                parameters = drawn(family, number)
                ranks = self.combined(family, parameters) if family in ("blend", "reranker") else self.fitted(family, parameters)
                self.keep(family, number, parameters, ranks)
            print(f"{self.log.name} {family} {number}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
        parameters = read_json(kept)
        if family != "gru4rec" and parameters != json.loads(json.dumps(drawn(family, number))):
            raise SystemExit(f"{kept} holds another trial than the one that is drawn today; remove it and the .npy beside it")
        return parameters, np.load(kept.with_suffix(".npy"))

    def keep(self, family: str, number: int, parameters: dict[str, Any], ranks: np.ndarray) -> None:
        path = self.folder / f"{family}.{number}.json"
        np.save(path.with_suffix(".npy"), ranks)
        write_json(path, parameters)

    def fitted(self, family: str, parameters: dict[str, Any]) -> np.ndarray:
        """Validation ranks of a model that is fitted in seconds."""
        kind = model_class(family)
        model = kind(kind.parameters_class.model_validate(parameters), seed=1)
        model.fit(FitData(self.data.train, self.data.items))
        return rank_targets(model, self.data.valid).ranks

    def train(self, training: int) -> None:
        """The trials of one training of GRU4Rec: without an average, and with each."""
        changed = RETAILROCKET | CHANGES[training]
        given = {name: value for name, value in changed.items() if name != "epochs"}
        n_items = self.data.n_items
        averaged: dict[float, dict[str, np.ndarray]] = {share: {} for share in AVERAGES if share}
        count = RETAILROCKET["epochs"]
        for number, arrays in enumerate(epochs(given, 1, self.data.train, n_items, count, None), start=1):
            averaged = {share: moving_average(average, arrays, share, number) for share, average in averaged.items()}
        for place, (share, learned) in enumerate({0.0: arrays, **averaged}.items()):
            parameters = changed | ({"average": share} if share else {})
            model = GRU4Rec(GRU4RecParameters.model_validate(parameters), seed=1)
            model.n_items_, model.arrays_ = n_items, learned
            self.keep("gru4rec", training * len(AVERAGES) + place, parameters, rank_targets(model, self.data.valid).ranks)

    @cached_property
    def lists(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """What each member lists for every prediction of validation."""
        found = []
        for name in ENTRIES["blend"].members:
            model = load_model(self.log.fitted(self.entry(ENTRIES[name].family), 1, "select") / "model")
            found.append(model.top_positions(self.data.valid, self.data.valid.targets(), min(LONGEST, self.data.n_items)))
        return found

    def combined(self, family: str, parameters: dict[str, Any]) -> np.ndarray:
        """Validation ranks of a model over models, as time went by; the last stage, which judges nothing, is not learned."""
        kind, valid = model_class(family), self.data.valid
        model = kind(kind.parameters_class.model_validate(parameters), seed=1)
        positions = valid.targets()
        starts = valid.starts[positions.session]
        length = model.parameters.candidates
        candidates = Candidates.union([(items[:, :length], scores[:, :length]) for items, scores in self.lists], self.data.n_items)
        queries, chosen = prefixes(valid, positions, slice(None)), candidates.places_of(positions.target, self.data.n_items)
        model.n_items_ = self.data.n_items
        model.describe(self.data)
        model.begin()
        since = stage_starts(starts)[:-1]
        ranks = np.full(len(positions), EXCLUDED, np.int64)
        for stage, (begin, end) in enumerate(zip(since, [*since[1:], np.inf], strict=True)):
            used = (starts < begin) & (chosen >= 0)
            own = candidates.of(used)
            model.learn(queries.of(used), own, own.places_of(positions.target[used], self.data.n_items))
            judged = np.flatnonzero((starts >= begin) & (starts < end))
            asked = np.isin(np.arange(len(positions)), judged)
            own = candidates.of(asked)
            scores = model.combine(stage, queries.of(asked), own)
            place = own.places_of(positions.target[asked], self.data.n_items)
            reached = np.where(place >= 0, scores[place], -np.inf)
            there = ~np.isneginf(reached)
            at_least = np.bincount(own.queries[scores >= np.where(there, reached, np.inf)[own.queries]], minlength=len(own))
            ranks[judged[there]] = at_least[there]
        return ranks

    def numbers(self, family: str) -> list[int]:
        """The trials of a family that count: all of them, or those that are done."""
        return [number for number in range(TRIALS) if not self.only_done or (self.folder / f"{family}.{number}.json").is_file()]

    def choice(self, family: str) -> dict[str, Any]:
        """The first trial, the best, and which of them is taken."""
        trials = {number: self.done(family, number) for number in self.numbers(family)}
        values = {number: worth(ranks) for number, (_, ranks) in trials.items()}
        best = max(trials, key=lambda number: values[number].mean())
        gap = paired_difference(values[best], values[0], self.sessions, RESAMPLES, 0.95)
        taken = best if gap["low"] > 0 else 0
        return {"first": told(trials[0][1]), "best": told(trials[best][1]), "number": best + 1, "gap": gap} | {
            "taken": taken,
            "parameters": trials[taken][0],
        }

    def on_test(self, family: str) -> dict[str, str]:
        """Figures of the model that was chosen, by split; of what is done only, nothing where it was not scored."""
        entry = self.entry(family)
        scored = self.log.folder / "final" / f"{entry.name}.seed1.json"
        if self.only_done and not scored.is_file():
            return {}
        self.log.scored(entry, 1)
        return {which: told(self.log.ranks(entry, 1, which)[0]) for which in ("test", "pairs") if which == "test" or self.log.name in PAIRS}


def told(ranks: np.ndarray) -> str:
    return " / ".join(f"{gains(metric, ranks).mean():.4f}".lstrip("0") for metric in ("recall@20", "mrr@20"))


def table(tuning: Tuning, families: list[str]) -> list[str]:
    """Rows of a log: what the trials of each family found, and how it does on test."""
    pairs = tuning.log.name in PAIRS
    lines = [f"| | trials | first | best | its number | the objective's gain | taken | test |{' pairs |' if pairs else ''}"]
    lines.append(f"|---|--:|---|---|--:|---|---|---|{'---|' if pairs else ''}")
    given = []
    for family in families:
        numbers = tuning.numbers(family)
        if 0 not in numbers:
            continue
        found, test = tuning.choice(family), tuning.on_test(family)
        gap = found["gap"]
        cells = [str(len(numbers)), found["first"], found["best"], str(found["number"])]
        cells += [f"{gap['mean']:+.4f} ({gap['low']:+.4f} to {gap['high']:+.4f})", "the best" if found["taken"] else "the first"]
        cells += [test.get(which, "") for which in ("test", *(["pairs"] if pairs else []))]
        lines.append(f"| {FAMILIES[family]} | {' | '.join(cells)} |")
        given.append(f"- {FAMILIES[family]}: `{json.dumps(found['parameters'])}`")
    return [*lines, "", "Taken, beside the defaults:", "", *given]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--folder", type=Path, default=ROOT / "results" / "trials")
    arguments.add_argument("--only", nargs="+", choices=LOGS, default=list(LOGS))
    arguments.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--done", action="store_true")
    arguments.add_argument("--write", action="store_true")
    given = arguments.parse_args()
    use_threads(given.threads)
    lines = [
        f"# {TRIALS} trials a model",
        "",
        "`python benchmarks/trials.py --write`, which says what a trial is and how one is chosen: settings of each model, seed 1, on all",
        "of validation, recall@20 / MRR@20; the gain is in recall@20 + 2 MRR@20, with its 95% interval by resampling sessions.",
        "The first trial of GRU4Rec is the published parameters, that of session-kNN the defaults that it first had, which are no",
        "published setting, and that of item-to-item both directions; all others' are the defaults.",
    ]
    if given.done:
        lines.append("Made with `--done`: a model with fewer trials has not had them all, and what has no figure on test was not scored.")
    for name in given.only:
        tuning = Tuning(name, given.folder.resolve(), given.threads, given.done)
        lines += ["", f"## {name}", "", *table(tuning, given.families)]
    print("\n".join(lines))
    if given.write:
        (ROOT / "benchmarks" / "trials.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
