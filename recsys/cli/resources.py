"""`recsys resources`: what the rules took."""

from pathlib import Path
from typing import Annotated

import typer


def resources(
    benchmarks: Annotated[list[Path], typer.Argument(help="Snakemake's benchmark files (extended JSON lines), in the pipeline's order.")],
    table: Annotated[Path, typer.Option(help="CSV to write: a row a rule.")],
    figure: Annotated[Path, typer.Option(help="SVG to write.")],
) -> None:
    """Gather seconds and memory by rule."""
    from recsys.cli.arguments import existing
    from recsys.figures.resources import resources as draw
    from recsys.figures.style import save
    from recsys.files import whole_file
    from recsys.resources import by_rule, read_benchmarks

    rules = by_rule(read_benchmarks([existing(path) for path in benchmarks]))
    with whole_file(table) as partial:
        rules.write_csv(partial, null_value="not measured")
    save(draw(rules), figure)
    print(f"{rules['seconds'].sum():,.0f} s in {rules['jobs'].sum():,} jobs of {rules.height} rules")
