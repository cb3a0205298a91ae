"""`recsys breakdown`: the figures of what the models are worth, and their numbers."""

from pathlib import Path
from typing import Annotated

import typer


def breakdown(
    runs: Annotated[list[Path], typer.Argument(help="Validation metrics, a file a run.")],
    metrics: Annotated[Path, typer.Option(help="The champion's test metrics.")],
    comparison: Annotated[Path, typer.Option(help="Their intervals and paired differences.")],
    ranks: Annotated[Path, typer.Option(help="Every tested model's ranks.")],
    exposure: Annotated[Path, typer.Option(help="How often every tested model recommends an item.")],
    items: Annotated[Path, typer.Option(help="The final window's vocabulary.")],
    held_out: Annotated[Path, typer.Option(help="Test sessions.")],
    output: Annotated[Path, typer.Option(help="The numbers, to write as JSON; the figures are written beside it.")],
    settings: Annotated[str, typer.Option(help='JSON: {"evaluation": …}.')] = "{}",
) -> None:
    """Break the test metrics down and draw them."""
    import polars as pl

    from recsys.cli.arguments import existing
    from recsys.evaluation import breakdown as broken
    from recsys.figures import evaluation as draw
    from recsys.files import read_json, write_json
    from recsys.sessions.table import Sessions
    from recsys.settings.reading import parse_settings, section
    from recsys.settings.training import EvaluationSettings

    chosen = section(parse_settings(settings), "evaluation", EvaluationSettings)
    tested, compared = read_json(existing(metrics)), read_json(existing(comparison))
    support = pl.read_parquet(existing(items), columns=["index", "support"]).sort("index")["support"].to_numpy()
    sessions = Sessions.from_parquet(existing(held_out))
    positions = sessions.targets()
    ranked = broken.ranks_by_model(pl.read_parquet(existing(ranks)), positions)
    groups = broken.groupings(sessions, positions, support)
    numbers = {
        "champion": tested["run"],
        "confidence": compared["confidence"],
        "leaderboard": broken.leaderboards([read_json(existing(path)) for path in runs], tested, compared, chosen.metric),
        "paired_differences": compared["paired_differences"],
        "breakdowns": {name: broken.break_down(grouping, ranked, positions.session, chosen) for name, grouping in groups.items()},
        "concentration": broken.concentrations(pl.read_parquet(existing(exposure)), list(ranked), positions.target, support),
    }
    for name, draw_figure in draw.FIGURES.items():
        draw_figure(numbers, output.with_name(f"{name}.svg"))
    write_json(output, numbers)
    print(f"drew {len(draw.FIGURES)} figures of {len(ranked)} models over {len(positions):,} predictions")
