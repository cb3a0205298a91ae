"""Every model on two public logs: chosen on validation, scored on test; with training time, time a query and size.

    python benchmarks/accuracy.py [--seeds 1 2 3] [--folder results/accuracy] [--only MODEL ...] [--write]

Takes RECSYS_DATA_DIR's retailrocket_sequences and rsc15_100k through the workflow as far as the two fit windows. Every model is fitted on
the select window and judged on validation; then it is fitted again on train + valid (models over models take over what they learned on
validation) and ranks every test position, and, for RetailRocket, COTREC's pairs of prefix and target. Models that depend on a seed are
fitted once a seed. What was done is kept in --folder, a model and a JSON file each, so that an interrupted call goes on; a model of other
parameters than those asked for is refused.

`ms a query`: sessions of test prefixes, one at a time, one thread, 20 items, by what a package is served with, in a process of its own.
`in memory`: by how much that process's resident memory, as the operating system has it, grows from where everything is imported until
the model is loaded and has answered; of a file that is mapped into memory, the pages that were read. `trials`: settings that were
compared on validation, which are not the same number for every model; benchmarks/trials.py gives every model the same.
--write writes benchmarks/accuracy.md and docs/accuracy.svg.
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.children import in_child  # noqa: E402
from benchmarks.conformance import RETAILROCKET, data_folder, window  # noqa: E402
from recsys.evaluation.bootstrap import interval, paired_difference  # noqa: E402
from recsys.evaluation.ranking import flat_metrics, gains, rank_targets  # noqa: E402
from recsys.files import read_json, whole_folder, write_json  # noqa: E402
from recsys.models.interface import FitContext, FitData  # noqa: E402
from recsys.models.registry import load_model, model_class  # noqa: E402
from recsys.models.scores import EXCLUDED  # noqa: E402
from recsys.serving.export import export_model  # noqa: E402
from recsys.serving.settings import StageSettings  # noqa: E402
from recsys.sessions.table import Sessions  # noqa: E402
from recsys.settings.blend import Member  # noqa: E402
from recsys.training.hardware import use_threads  # noqa: E402

LOGS = ("retailrocket_sequences", "rsc15_100k")
PAIRS = {"retailrocket_sequences": "retailrocket_sequences/test.parquet"}
KNN = {
    "retailrocket_sequences": {
        "sessions_per_item": 5000,
        "sample": 1000,
        "neighbours": 1000,
        "max_length": 40,
        "query_decay": "harmonic",
        "query_scale": 3.86,
        "idf_similarity": 1.92,
        "length_norm": 0.36,
        "recency": "118d",
        "sharpness": 1.0,
        "anchor": "all",
        "anchor_decay": "exponential",
        "anchor_scale": 2.63,
        "distance_decay": "harmonic",
        "distance_scale": 0.85,
        "reach": 0,
        "before": 0.78,
        "same": 2.6,
        "repeats": "sum",
        "own": 2.31,
        "idf_score": 0.43,
        "expand": 3,
        "expand_weight": 0.05,
    },
    "rsc15_100k": {
        "sessions_per_item": 5000,
        "sample": 0,
        "neighbours": 500,
        "max_length": 40,
        "query_decay": "harmonic",
        "query_scale": 2.08,
        "idf_similarity": 1.99,
        "length_norm": 0.0,
        "recency": "57d",
        "sharpness": 1.65,
        "anchor": "all",
        "anchor_decay": "harmonic",
        "anchor_scale": 0.46,
        "distance_decay": "harmonic",
        "distance_scale": 12.2,
        "reach": 5,
        "before": 0.97,
        "same": 1.94,
        "repeats": "best",
        "own": 1.42,
        "idf_score": 0.91,
        "expand": 3,
        "expand_weight": 0.05,
    },
}
"""Session-kNN's parameters, all of them, so that no change of a default changes them (docs/decisions/0015-session-knn.md)."""
GRU4REC = {
    "retailrocket_sequences": RETAILROCKET,
    "rsc15_100k": RETAILROCKET | {"layers": [128], "dropout_embedding": 0.65, "average": 0.85},
}
"""The published parameters, and for the small log what restrains them (docs/decisions/0012-beyond-the-published-parameters.md)."""
SHOWN = ("recall@1", "recall@5", "recall@20", "mrr@20")
PUBLISHED_SUPPORT = 5
"""Clicks that an item has in all of each log, because its publisher took the others out: with fewer in training, it is known to come."""
ALL_SEEDS = ", all seeds"
QUERIES = 1_000
RESAMPLES = 1_000


@dataclass(frozen=True)
class Entry:
    """A model of the table.

    Attributes
    ----------
    name, family
        What it is called, and its family.
    parameters
        By log.
    members
        Of a model over models: the entries that it combines.
    joins
        Of an ensemble: the entry whose networks, one a seed, are scored as one.
    seeded
        Whether it is fitted once a seed.
    trials
        By log: how many settings were compared on validation, as docs/decisions/0006, 0012, 0015 and 0018 tell.
    """

    name: str
    family: str
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    members: tuple[str, ...] = ()
    joins: str | None = None
    seeded: bool = False
    trials: dict[str, int] = field(default_factory=dict)


def _on_all(**parameters: Any) -> dict[str, dict[str, Any]]:
    return {log: parameters for log in LOGS}


def _trials(*counts: int) -> dict[str, int]:
    return dict(zip(LOGS, counts, strict=True))


ENTRIES = {
    entry.name: entry
    for entry in (
        Entry("popularity", "popularity", trials=_trials(1, 1)),
        Entry("item-to-item", "item_to_item", _on_all(direction="both"), trials=_trials(5, 5)),
        Entry("session-kNN", "session_knn", KNN, trials=_trials(303, 303)),
        Entry("GRU4Rec", "gru4rec", GRU4REC, seeded=True, trials=_trials(6, 49)),
        Entry("GRU4Rec, all seeds", "gru4rec", joins="GRU4Rec"),
        Entry("blend", "blend", members=("GRU4Rec", "session-kNN", "item-to-item"), seeded=True, trials=_trials(1, 7)),
        Entry("re-ranker", "reranker", members=("GRU4Rec", "session-kNN", "item-to-item"), seeded=True, trials=_trials(33, 7)),
        Entry("blend, all seeds", "blend", members=("GRU4Rec, all seeds", "session-kNN", "item-to-item")),
        Entry("re-ranker, all seeds", "reranker", members=("GRU4Rec, all seeds", "session-kNN", "item-to-item")),
    )
}


class Log:
    """A log's windows and what was fitted on them."""

    def __init__(self, name: str, folder: Path, threads: int, seeds: list[int], entries: dict[str, Entry] = ENTRIES) -> None:
        self.name, self.folder, self.threads, self.seeds, self.entries = name, folder / name, threads, seeds, entries
        fit = window(name, folder / "windows").parent
        self.paths = {"select": fit / "select", "final": fit / "final"}

    def data(self, which: str) -> FitData:
        path = self.paths[which]
        valid = Sessions.from_parquet(path / "valid.parquet") if which == "select" else None
        return FitData(Sessions.from_parquet(path / "train.parquet"), pl.read_parquet(path / "items.parquet"), valid)

    def held_out(self, which: str) -> Sessions:
        return Sessions.from_parquet(self.paths[which] / ("valid.parquet" if which == "select" else "test.parquet"))

    def fitted(self, entry: Entry, seed: int, which: str) -> Path:
        """The folder of an entry's model on a window, fitted where it was not yet."""
        folder = self.folder / which / f"{entry.name.replace(' ', '-').replace(',', '')}.seed{seed}"
        kind = model_class(entry.family)
        context = FitContext(device="cpu", keep="last", resume_folder=folder.with_name(f"{folder.name}.resume"))
        given = dict(entry.parameters.get(self.name, {}))
        seconds = 0.0
        if entry.members:
            own = {name: self.fitted(self.entries[name], seed if self.entries[name].seeded else 1, which) for name in entry.members}
            seconds = sum(read_json(path / "training.json")["training_seconds"] for path in own.values())
            context.members = {name: path / "model" for name, path in own.items()}
            given["combines"] = [_member(name, path) for name, path in own.items()]
        if folder.is_dir():
            if entry.joins is None:
                refuse_others(folder, kind.parameters_class.model_validate(given))
            return folder
        if entry.members and which == "final":
            context.learned = self.fitted(entry, seed, "select") / "model"
        if entry.joins is not None:
            own = [self.fitted(self.entries[entry.joins], one, which) for one in self.seeds]
            seconds = sum(read_json(path / "training.json")["training_seconds"] for path in own)
            model = _joined([load_model(path / "model") for path in own])
        else:
            model = kind(kind.parameters_class.model_validate(given), seed=seed)
            data = self.data(which)
            begin = time.perf_counter()
            model.fit(data, context)
            seconds += time.perf_counter() - begin
        with whole_folder(folder) as partial:
            (partial / "model").mkdir()
            model.save(partial / "model")
            write_json(partial / "training.json", {"training_seconds": seconds, "threads": self.threads})
        return folder

    def training_seconds(self, entry: Entry, seed: int) -> float:
        """How long the final fit took: of several networks as often as one; of models over models with their members', and with learning on
        validation, which it takes over."""
        if entry.joins is not None:
            return len(self.seeds) * self.training_seconds(self.entries[entry.joins], seed)

        def told(which: str, one: Entry) -> float:
            return read_json(self.fitted(one, seed if one.seeded else 1, which) / "training.json")["training_seconds"]

        members = [self.entries[name] for name in entry.members]
        windows = ("select", "final") if members else ("final",)
        own = sum(told(which, entry) - sum(told(which, member) for member in members) for which in windows)
        return own + sum(self.training_seconds(member, seed) for member in members)

    def measured(self, entry: Entry, seed: int) -> dict[str, Any]:
        """Figures and costs of an entry, measured where they were not yet."""
        final = self.fitted(entry, seed, "final")
        cost = final.with_name(f"{final.name}.cost.json")
        if not cost.is_file():
            write_json(cost, self.served(final))
        return self.scored(entry, seed) | read_json(cost)

    def scored(self, entry: Entry, seed: int) -> dict[str, Any]:
        """Figures of an entry on validation, test and pairs, made where they were not yet."""
        select, final = (self.fitted(entry, seed, which) for which in ("select", "final"))
        done = final.with_name(f"{final.name}.json")
        if not done.is_file():
            result: dict[str, Any] = {}
            for which, folder in (("valid", select), ("test", final)):
                sessions = self.held_out("select" if which == "valid" else "final")
                ranking = rank_targets(load_model(folder / "model"), sessions)
                self.keep(final, which, ranking.ranks, ranking.positions.session)
                result[which] = flat_metrics(ranking.ranks)
                result[f"{which} well known"] = flat_metrics(ranking.ranks[self.well_known(which)])
            if self.name in PAIRS:
                ranks, owners = self.pairs(load_model(final / "model"))
                self.keep(final, "pairs", ranks, owners)
                result["pairs"] = flat_metrics(ranks)
            write_json(done, result)
        return read_json(done)

    def well_known(self, which: str) -> np.ndarray:
        """Whether each target of a split has the clicks in training that these logs' publishers asked for: bool."""
        fitted_on = "select" if which == "valid" else "final"
        clicks = pl.read_parquet(self.paths[fitted_on] / "items.parquet")["support"].to_numpy()
        return clicks[self.held_out(fitted_on).targets().target] >= PUBLISHED_SUPPORT

    @staticmethod
    def keep(final: Path, which: str, ranks: np.ndarray, sessions: np.ndarray) -> None:
        np.savez(final.with_name(f"{final.name}.{which}.npz"), ranks=ranks, sessions=sessions)

    def ranks(self, entry: Entry, seed: int, which: str) -> tuple[np.ndarray, np.ndarray]:
        """A split's ranks, and the session that each prediction is of."""
        final = self.fitted(entry, seed, "final")
        kept = np.load(final.with_name(f"{final.name}.{which}.npz"))
        return kept["ranks"], self.owners if which == "pairs" else kept["sessions"]

    @cached_property
    def owners(self) -> np.ndarray:
        """The session of each published pair. They stand session after session, the longest prefix first, so that a row whose prefix and
        target together are the prefix above it is of the same session."""
        pairs = pl.read_parquet(data_folder() / PAIRS[self.name], columns=["prefix", "target"])
        goes_on = pl.concat_list("prefix", "target") == pl.col("prefix").shift(1)
        return pairs.select((~goes_on.fill_null(False)).cum_sum()).to_series().to_numpy().astype(np.int64)

    def pairs(self, model: Any) -> tuple[np.ndarray, np.ndarray]:
        """Ranks of the published pairs, and their sessions; a target that training does not know is missed."""
        from recsys.sessions.pairs import read_pairs

        pairs = read_pairs(data_folder() / PAIRS[self.name], pl.read_parquet(self.paths["final"] / "items.parquet"))
        ranks = rank_targets(model, pairs.sessions, positions=pairs.positions).ranks
        return np.where(pairs.known, ranks, EXCLUDED), self.owners

    def served(self, final: Path) -> dict[str, float]:
        """Milliseconds a query (median, 90%), megabytes of what is served, and megabytes of memory that it takes."""
        export = final.with_name(f"{final.name}.export")
        described = export_model(final / "model", export / "model", StageSettings()) | {"exclude_session_items": False}
        artifacts = export if described["runtime"] == "native" else export / "model"
        request = {"artifacts": str(artifacts), "described": described, "test": str(self.paths["final"] / "test.parquet")}
        found = in_child("accuracy.py", request, threads=1)
        size = sum(path.stat().st_size for path in export.rglob("*") if path.is_file())
        return found | {"megabytes": size / 1e6}


def asked(request: dict[str, Any]) -> dict[str, float]:
    """What a child process measures: it loads what is served and asks it, after everything was imported."""
    use_threads(1)
    runtimes = {name: import_module(f"recsys.serving.{name}_runtime") for name in ("native", "onnx", "combined")}
    for name in ("lightgbm", "rust_sessionizer.neighbours", "recsys.serving.network_scorer"):
        import_module(name)
    sessions = Sessions.from_parquet(Path(request["test"]))
    positions = sessions.targets()
    places = np.random.default_rng(1).choice(len(positions), QUERIES + 50)
    queries = [sessions.items[sessions.offsets[positions.session[place]] : positions.click[place]].tolist() for place in places]
    before = psutil.Process().memory_info().rss
    scorer = runtimes[request["described"]["runtime"]].load_scorer(Path(request["artifacts"]), request["described"])
    taken = []
    for query in queries:
        begin = time.perf_counter()
        scorer.top([query], 20)
        taken.append(1e3 * (time.perf_counter() - begin))
    resident = psutil.Process().memory_info().rss - before
    median, high = np.percentile(taken[50:], (50, 90))
    return {"ms_median": float(median), "ms_p90": float(high), "resident": resident / 1e6}


def refuse_others(folder: Path, asked_for: Any) -> None:
    """Refuse a kept model of other parameters.

    Raises
    ------
    SystemExit
        Naming what differs.
    """
    kept = type(asked_for).model_validate(read_json(folder / "model" / "manifest.json")["parameters"]).model_dump()
    for name, value in asked_for.model_dump().items():
        if kept[name] != value:
            raise SystemExit(
                f"{folder} was made with {name} {kept[name]!r}, but {value!r} is asked for; remove it, or name another --folder"
            )


def _joined(networks: list[Any]) -> Any:
    """The networks of several models of GRU4Rec as the members of one."""
    from recsys.models.gru4rec_ensemble import together

    first = networks[0]
    model = type(first)(first.parameters.model_copy(update={"members": len(networks)}), first.seed)
    model.n_items_ = first.n_items_
    model.set_arrays(together([network.arrays() for network in networks]))
    return model


def _member(name: str, folder: Path) -> Member:
    manifest = read_json(folder / "model" / "manifest.json")
    return Member(name=name, run=name, model=manifest["family"], seed=manifest["seed"], parameters=manifest["parameters"])


def _seeds(entry: Entry, seeds: list[int]) -> list[int]:
    return seeds if entry.seeded else [1]


def _told(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.4f}".lstrip("0")
    return mean if len(values) == 1 else f"{mean} ±{(max(values) - min(values)) / 2:.4f}".replace("±0", "±")


def table(log: Log, which: str, entries: list[Entry], seeds: list[int]) -> list[str]:
    """A table of one split: a row a model."""
    by_clicks = which != "pairs"
    more = f" R@20, {PUBLISHED_SUPPORT} clicks in training | MRR@20, likewise |" if by_clicks else ""
    lines = [f"| | R@1 | R@5 | R@20 | MRR@20 |{more}", f"|---|---|---|---|---|{'---|---|' if by_clicks else ''}"]
    for entry in entries:
        found = [log.scored(entry, seed)[which] for seed in _seeds(entry, seeds)]
        cells = [_told([one[metric] for one in found]) for metric in SHOWN]
        ranks, sessions = log.ranks(entry, 1, which)
        for place, metric in ((2, "recall@20"), (3, "mrr@20")):
            bounds = interval(gains(metric, ranks), sessions, RESAMPLES, 0.95)
            cells[place] += f" ({bounds['low']:.4f} to {bounds['high']:.4f})".replace("(0", "(").replace("to 0", "to ")
        if by_clicks:
            known = [log.scored(entry, seed)[f"{which} well known"] for seed in _seeds(entry, seeds)]
            cells += [_told([one[metric] for one in known]) for metric in SHOWN[2:]]
        lines.append(f"| {entry.name} | {' | '.join(cells)} |")
    return lines


def costs(log: Log, entries: list[Entry]) -> list[str]:
    lines = ["| | trials | training, s | ms a query, median | 90% | files, MB | in memory, MB |", "|---|--:|--:|--:|--:|--:|--:|"]
    for entry in entries:
        found = log.measured(entry, 1)
        cells = [
            str(entry.trials.get(log.name, "")),
            f"{log.training_seconds(entry, 1):,.1f}",
        ]
        cells += [f"{found['ms_median']:.2f}", f"{found['ms_p90']:.2f}", f"{found['megabytes']:,.0f}", f"{found['resident']:,.0f}"]
        lines.append(f"| {entry.name} | {' | '.join(cells)} |")
    return lines


def apart(log: Log, which: str, entries: list[Entry]) -> list[str]:
    """Each model over models minus its best member by that split, with the interval of the paired bootstrap."""
    lines = []
    for entry in entries:
        if not entry.members:
            continue
        for metric in ("recall@20", "mrr@20"):
            ranks, sessions = log.ranks(entry, 1, which)
            best = max(entry.members, key=lambda name, metric=metric: log.scored(ENTRIES[name], 1)[which][metric])
            its, _ = log.ranks(ENTRIES[best], 1, which)
            gap = paired_difference(gains(metric, ranks), gains(metric, its), sessions, RESAMPLES, 0.95)
            told = f"{gap['mean']:+.4f} ({gap['low']:+.4f} to {gap['high']:+.4f})"
            lines.append(f"- {entry.name} minus its best member there, {best}, in {metric}: {told}")
    return lines


def draw(logs: list[Log], entries: list[Entry], path: Path) -> None:
    """Quality against cost: MRR@20 and recall@20 on test by milliseconds a query."""
    from recsys.figures.style import MARKERS, label, plots, save

    figure, axes = plots(1, 2 * len(logs), width=11, height=3.4)
    shown = [entry for entry in entries if entry.family != "popularity"]
    # Several networks have the sign of one, hollow.
    kinds = list(dict.fromkeys(entry.name.removesuffix(ALL_SEEDS) for entry in shown))
    for place, (log, metric) in enumerate((log, metric) for log in logs for metric in ("recall@20", "mrr@20")):
        own = label(axes[place], log.name, "milliseconds a query (median)", metric)
        times = []
        for entry in shown:
            found = log.measured(entry, 1)
            number = kinds.index(entry.name.removesuffix(ALL_SEEDS))
            sign = {"color": f"C{number}", "marker": MARKERS[number % len(MARKERS)], "linestyle": "none", "markersize": 8}
            sign |= {"fillstyle": "none" if entry.name.endswith(ALL_SEEDS) else "full"}
            own.plot(found["ms_median"], found["test"][metric], label=entry.name, **sign)
            times.append(found["ms_median"])
        own.set_xscale("log")
        ticks = [tick for tick in (0.03, 0.1, 0.3, 1, 3, 10) if min(times) / 2 < tick < max(times) * 2]
        own.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        own.set_xticks([], minor=True)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    save(figure, path)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments.add_argument("--folder", type=Path, default=ROOT / "results" / "accuracy")
    arguments.add_argument("--only", nargs="+", choices=LOGS, default=list(LOGS))
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--write", action="store_true")
    arguments.add_argument("--child", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.child is not None:
        print(json.dumps(asked(json.loads(given.child))))
        return
    use_threads(given.threads)
    logs = [Log(name, given.folder.resolve(), given.threads, given.seeds) for name in given.only]
    entries = list(ENTRIES.values())
    lines = [
        "# Accuracy and cost of every model",
        "",
        "Chosen on validation, fitted again on train + valid, scored on test (`python benchmarks/accuracy.py --write`, which says",
        f"what is measured). Mean of the seeds {', '.join(map(str, given.seeds))} ± half their range; in brackets the 95% interval",
        "of seed 1 by resampling sessions. *All seeds*: the networks of all of them scored as one. *5 clicks in training*: the targets",
        "that have as many, since both logs were published without items that have fewer in all (docs/evaluation.md). *Trials*: settings",
        "that were compared on validation; [trials.md](trials.md) gives every model the same number.",
    ]
    for log in logs:
        lines += ["", f"## {log.name}"]
        splits = ["valid", "test"] + (["pairs"] if log.name in PAIRS else [])
        for which in splits:
            heading = {"valid": "Validation", "test": "Test, every position", "pairs": "COTREC's pairs of prefix and target"}[which]
            lines += ["", f"### {heading}", "", *table(log, which, entries, given.seeds)]
            if which != "valid":
                lines += ["", *apart(log, which, entries)]
        lines += ["", f"### Cost, seed 1, {given.threads} threads (a query: 1)", "", *costs(log, entries)]
    print("\n".join(lines))
    if given.write:
        (ROOT / "benchmarks" / "accuracy.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
        draw(logs, entries, ROOT / "docs" / "accuracy.svg")


if __name__ == "__main__":
    main()
