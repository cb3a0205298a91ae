"""What was chosen, how it scored, whether the package holds what it promises and whether it was promoted: two pages and a few sentences."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.checks.finding import failed_checks
from recsys.files import whole_file
from recsys.report.page import Markup, element, table, write_page

_SHOWN = (("recall", "1"), ("recall", "5"), ("recall", "10"), ("recall", "20"), ("mrr", "20"), ("ndcg", "20"))
_ANSWERED = 300


@dataclass(frozen=True)
class Outcome:
    """What the stages wrote: the content of files of `champion/`, and what is known of the log.

    Attributes
    ----------
    choice, metrics, comparison, parity, smoke, registered
        The JSON files of that name.
    manifest
        The package's `manifest.json`.
    quality
        `quality/quality.json`.
    log
        `sessions/summary.json`.
    shop
        The shop's name.
    """

    choice: dict[str, Any]
    metrics: dict[str, Any]
    comparison: dict[str, Any]
    parity: dict[str, Any]
    smoke: dict[str, Any]
    registered: dict[str, Any]
    manifest: dict[str, Any]
    quality: dict[str, Any]
    log: dict[str, Any]
    shop: str


def baseline_won(metrics: dict[str, Any]) -> str:
    """What there is to say where the champion is a baseline; nothing where it is not."""
    if metrics["run"] not in metrics["baselines"]:
        return ""
    return "A baseline won: on this log, learning from sequences does not pay yet."


def untested(outcome: Outcome) -> str:
    """Why runs that were compared on validation are not on test; nothing where all are."""
    tested = {outcome.metrics["run"], *outcome.metrics["baselines"]}
    names = [row["name"] for row in outcome.choice["table"] if row["name"] not in tested]
    if not names:
        return ""
    return (
        f"Not on test: {', '.join(names)}. Only the champion and the baselines are fitted again and tested, since the best of many looks "
        "at the test split would seem better than it is; validation shows how the others compare."
    )


def _origin(outcome: Outcome) -> str:
    """The shop, and from when to when its log goes."""
    first, last = outcome.log["first"][:10], outcome.log["last"][:10]
    span = f"of {first}" if first == last else f"from {first} to {last}"
    return f"{outcome.shop}, log {span} (UTC): {outcome.quality['events']:,} events, {outcome.log['sessions']:,} sessions"


def _header(kind: str, cutoff: str) -> str:
    return f"{kind if kind == 'recall' else kind.upper()}@{cutoff}"


def _interval(found: dict[str, float], signed: bool = False) -> str:
    form = "+.4f" if signed else ".4f"
    return f"{found['mean']:{form}} ({found['low']:{form}} to {found['high']:{form}})"


def _verdict(passed: bool) -> Markup:
    return element("span", "passed" if passed else "failed", style="" if passed else "failed")


def choice_table(choice: dict[str, Any]) -> Markup:
    """Every named run on validation, the chosen one first."""
    rows = [
        [
            row["name"],
            row["model"],
            row["seeds"],
            f"{row['mean']:.4f}",
            f"{row['lowest']:.4f} to {row['highest']:.4f}" if row["seeds"] > 1 else "",
            _interval(row["winner_minus_this"], signed=True) if "winner_minus_this" in row else "",
        ]
        for row in choice["table"]
    ]
    columns = ("run", "model", "seeds", choice["metric"], "lowest to highest seed", "chosen run minus this one")
    return table(columns, rows, numbers=("seeds", choice["metric"]))


def test_table(metrics: dict[str, Any]) -> Markup:
    """The champion and its baselines on test, best first."""
    found = {metrics["run"]: metrics} | {name: row for name, row in metrics["baselines"].items() if name != metrics["run"]}
    columns = [_header(*shown) for shown in _SHOWN]
    rows = [
        [name + (" (champion)" if name == metrics["run"] else ""), *(f"{row[kind][cutoff]:.4f}" for kind, cutoff in _SHOWN)]
        for name, row in sorted(found.items(), key=lambda entry: -entry[1]["recall"]["20"])
    ]
    return table(["model", *columns], rows, numbers=columns)


def differences_table(comparison: dict[str, Any]) -> Markup:
    """All pairs of tested models, on the same predictions."""
    metrics = list(comparison["paired_differences"])
    pairs = zip(*(comparison["paired_differences"][metric] for metric in metrics), strict=True)
    rows = [[f"{pair[0]['better']} minus {pair[0]['worse']}", *(_interval(one, signed=True) for one in pair)] for pair in pairs]
    return table(["pair", *map(_header_of, metrics)], rows)


def _header_of(metric: str) -> str:
    return _header(*metric.split("@"))


def parity_rows(parity: dict[str, Any]) -> list[list[object]]:
    """What was compared, what was found, what is allowed, and whether it holds; an empty verdict where nothing is judged."""
    allowed, test = parity["tolerance"], parity["test"]
    bound = f"{allowed['absolute']:g} + {allowed['relative']:g} × score"
    truncated, gained = test["predictions over serve.max_session_length"], test["hits gained by looking at the last clicks only"]
    return [
        ["test sessions so far asked of both", f"{parity['queries']:,}", "", ""],
        # Beyond these bounds there is no package: the stage that builds it stops.
        ["largest difference of a score of the 20 best items", f"{parity['largest_absolute_difference']:.2g}", bound, _verdict(True)],
        ["the same, as a share of the score", f"{parity['largest_relative_difference']:.2g}", bound, _verdict(True)],
        ["equal lists of 20 (items that score alike may change places)", f"{100 * parity['equal_top_20']:.2f}%", "", ""],
        [
            f"recall@20 of the fitted model on {test['predictions']:,} test predictions",
            f"{test['recall@20 of the fitted model']:.4f}",
            "",
            "",
        ],
        ["recall@20 through the package on the same", f"{test['recall@20 through the package']:.4f}", "", ""],
        [
            "their difference, but for what the last row explains",
            f"{test['difference']:.2g}",
            f"{allowed['recall@20']:g}",
            _verdict(abs(test["difference"]) <= allowed["recall@20"]),
        ],
        ["predictions after more clicks than serving looks at, and hits this gains", f"{truncated:,}; {gained:+d}", "", ""],
    ]


def _package_rows(outcome: Outcome) -> list[list[object]]:
    manifest = outcome.manifest
    runtimes = {"onnx": "an ONNX graph in onnxruntime", "native": "the model's own code"}
    return [
        ["run", outcome.metrics["run"]],
        ["model", manifest["family"]],
        ["answers come from", runtimes.get(manifest["runtime"], manifest["runtime"])],
        ["items", f"{manifest['items']:,}"],
        ["item ids", {"hash": "64-bit integers, sent as texts"}.get(manifest["id_type"], manifest["id_type"])],
        ["clicks of a session that are looked at", f"the last {manifest['max_session_length']:,}"],
        ["items of the session may be recommended", "no" if manifest["exclude_session_items"] else "yes"],
        ["SHA-256", outcome.registered["package_hash"]],
    ]


def _smoke_part(title: str, checks: Sequence[dict[str, Any]]) -> Markup:
    rows = [[check["name"], check["status"], _verdict(check["ok"])] for check in checks]
    passed = sum(check["ok"] for check in checks)
    return element("div", element("h3", f"{title}: {passed} of {len(checks)} passed"), table(("request", "HTTP", "verdict"), rows))


def promotion_rows(registered: dict[str, Any]) -> list[list[object]]:
    """What was registered and decided."""
    promoted = registered["alias_promoted"]
    decision = (
        "promoted: it holds the alias champion" if promoted else f"not promoted: version {registered['champion_version']} stays champion"
    )
    return [
        ["registered model", registered["name"]],
        ["version", registered["version"]],
        ["decision", decision],
        ["reason", registered["reason"]],
    ]


def write_results(path: Path, outcome: Outcome) -> None:
    """The page on the choice and on the test split."""
    percent = f"{100 * outcome.comparison['confidence']:g}%"
    write_page(
        path,
        "What was chosen, and what it is worth",
        element("p", f"{_origin(outcome)}.", style="quiet"),
        element(
            "section",
            element("h2", "The choice, on validation"),
            element("p", f"{outcome.choice['why']}. {baseline_won(outcome.metrics)}".strip()),
            choice_table(outcome.choice),
        ),
        element(
            "section",
            element("h2", "The test, looked at once"),
            element(
                "p",
                f"The chosen run and the baselines, fitted again on training and validation together: {outcome.metrics['predictions']:,} "
                "predictions of the next click, ranked against all items; of equal scores the worst rank counts. recall@20 is the share of "
                "predictions whose item stands among the first 20; MRR@20 is the mean of 1 / its rank, and NDCG@20 of 1 / log2(rank + 1), "
                "both 0 beyond the 20.",
            ),
            *([element("p", why)] if (why := untested(outcome)) else []),
            test_table(outcome.metrics),
        ),
        element(
            "section",
            element("h2", "Differences, prediction by prediction"),
            element("p", f"In parentheses the {percent} interval, by drawing whole sessions again and again."),
            differences_table(outcome.comparison),
        ),
    )


def write_package(path: Path, outcome: Outcome) -> None:
    """The page on the package: what it is, parity, smoke test, promotion."""
    checks = outcome.smoke["checks"]
    answered = [check for check in checks if check["status"] < _ANSWERED]
    refused = [check for check in checks if check["status"] >= _ANSWERED]
    facts = ("", "value")
    write_page(
        path,
        "The package: what was measured before it was promoted",
        element("section", element("h2", "Promotion"), table(facts, promotion_rows(outcome.registered))),
        element("section", element("h2", "The package"), table(facts, _package_rows(outcome))),
        element(
            "section",
            element("h2", "Parity: does the package answer as the fitted model does?"),
            table(("measured", "found", "allowed", "verdict"), parity_rows(outcome.parity), numbers=("found", "allowed")),
        ),
        element(
            "section",
            element("h2", f"Smoke test: {'passed' if outcome.smoke['ok'] else 'failed'}"),
            element(
                "p", "A real server on the package: good requests must be answered as the package does, broken ones refused in a sentence."
            ),
            element("div", _smoke_part("Answered", answered), _smoke_part("Refused", refused), style="columns"),
        ),
    )


def _rst(text: str) -> str:
    """Plain text in reStructuredText, in which `recall@20` would be somebody's address."""
    return re.sub(r"([\\*`|_<>\[\]@])", r"\\\1", text)


def write_summary(path: Path, outcome: Outcome) -> None:
    """The report's first sentences, as reStructuredText."""
    metrics, registered = outcome.metrics, outcome.registered
    others = [
        f"that of {name} is {row['recall']['20']:.4f}"
        for name, row in sorted(metrics["baselines"].items(), key=lambda entry: -entry[1]["recall"]["20"])
        if name != metrics["run"]
    ]
    beside = f"; {', '.join(others)}" if others else ""
    recall = outcome.comparison["models"][metrics["run"]]["intervals"]["recall@20"]
    failed, checks = failed_checks(outcome.quality), len(outcome.quality["checks"])
    lines = [
        f"**Shop and log:** {_rst(_origin(outcome))}.",
        f"**The champion is {_rst(metrics['run'])}** (model {_rst(metrics['model'])}). {_rst(outcome.choice['why'])}. "
        f"{_rst(baseline_won(metrics))}".strip(),
        f"On the test split, {metrics['predictions']:,} predictions looked at once, its recall\\@20 is {_rst(_interval(recall))}"
        f"{_rst(beside)}; the champion's MRR\\@20 is {metrics['mrr']['20']:.4f}.",
        f"The package passed {sum(check['ok'] for check in outcome.smoke['checks'])} of {len(outcome.smoke['checks'])} requests of its "
        f"smoke test. Version {registered['version']} of {_rst(registered['name'])} "
        + ("is the champion" if registered["alias_promoted"] else f"was not promoted, version {registered['champion_version']} stays")
        + f": {_rst(registered['reason'])}.",
        f"**{len(failed)} of {checks} checks of the log failed:**" if failed else f"None of {checks} checks of the log failed.",
        *(f"- {_rst(sentence)}" for sentence in failed),
    ]
    with whole_file(path) as partial:
        partial.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
