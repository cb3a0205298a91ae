"""`recsys verdict`: the report's pages on the choice, the test, the package and its promotion."""

from pathlib import Path
from typing import Annotated

import typer


def verdict(
    choice: Annotated[Path, typer.Option(help="Which run was chosen.")],
    metrics: Annotated[Path, typer.Option(help="The champion's test metrics.")],
    comparison: Annotated[Path, typer.Option(help="Their intervals and paired differences.")],
    parity: Annotated[Path, typer.Option(help="What the package stage compared.")],
    smoke: Annotated[Path, typer.Option(help="What the smoke test wrote.")],
    registered: Annotated[Path, typer.Option(help="What was registered and decided.")],
    package: Annotated[Path, typer.Option(help="The package.")],
    quality: Annotated[Path, typer.Option(help="The quality of the log, with its checks.")],
    log: Annotated[Path, typer.Option(help="The log's counts and times, as `recsys sessionize` writes them.")],
    shop: Annotated[str, typer.Option(help="The shop's name.")],
    results_page: Annotated[Path, typer.Option(help="The HTML page on the choice and the test, to write.")],
    package_page: Annotated[Path, typer.Option(help="The HTML page on the package and its promotion, to write.")],
    summary: Annotated[Path, typer.Option(help="The report's first sentences, to write.")],
) -> None:
    """Say in tables what was measured, what is allowed and what was decided."""
    from recsys.cli.arguments import existing
    from recsys.files import read_json
    from recsys.report.verdict import Outcome, write_package, write_results, write_summary

    files = (choice, metrics, comparison, parity, smoke, registered, package / "manifest.json", quality, log)
    outcome = Outcome(*(read_json(existing(path)) for path in files), shop=shop)
    write_results(results_page, outcome)
    write_package(package_page, outcome)
    write_summary(summary, outcome)
    print(f"wrote {results_page.name}, {package_page.name} and {summary.name}")
