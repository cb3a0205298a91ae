"""`recsys quality`: the log's quality in figures, and in one file."""

from pathlib import Path
from typing import Annotated

import typer


def quality(
    events: Annotated[list[Path], typer.Argument(help="All event parts; each has its quality file beside it.")],
    checks: Annotated[Path, typer.Option(help="Findings, as `recsys check` writes them.")],
    figures: Annotated[Path, typer.Option(help="Folder to draw into: checks, refused and volume, and a figure a part under parts/.")],
    summary: Annotated[Path, typer.Option(help="JSON file to write the quality of the log to.")],
    counts: Annotated[list[Path] | None, typer.Option(help="Counts of a fit window, as `recsys encode` writes them.")] = None,
) -> None:
    """Draw the quality of every part and of the log."""
    from recsys.checks.overall import events_over_time, overall
    from recsys.cli.arguments import existing
    from recsys.events.parts import read_counts
    from recsys.figures.quality import draw_checks, draw_part, draw_refused, draw_volume
    from recsys.files import read_json, write_json

    parts = [read_counts(existing(path)) for path in events]
    for path, content in zip(events, parts, strict=True):
        draw_part(content, events_over_time(path), figures / "parts" / f"{content['part']}.svg")
    content = overall(parts, read_json(existing(checks)), [read_json(existing(path)) for path in counts or []])
    found = content["checks"]
    draw_checks([(finding["name"], finding) for finding in found], figures / "checks.svg")
    limits = {finding["check"]: finding["threshold"] for finding in found}
    draw_refused(parts, limits["quarantined"], figures / "refused.svg")
    draw_volume(content["days"], limits["volume"], figures / "volume.svg")
    write_json(summary, content)
    failed = [finding["name"] for finding in found if not finding["passed"]]
    print(f"{len(parts):,} parts, {len(found)} findings" + (f"; failed: {', '.join(failed)}" if failed else "; all passed"))
