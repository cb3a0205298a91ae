"""What a person sees while a run trains: a bar on a terminal, a line an epoch elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from recsys.models.interface import FitContext, Model


@contextmanager
def shown(context: FitContext, run: str) -> Iterator[None]:
    """Show the progress of the fit that `context` surrounds, under the run's name."""
    console = Console(file=sys.stderr)
    validate = context.validate

    def told(model: Model) -> dict[str, float]:
        metrics = validate(model) if validate is not None else {}
        epoch = len(context.history) + 1
        console.print(f"{run}: epoch {epoch} validated, {context.metric} {metrics[context.metric]:.4f}", highlight=False)
        return metrics

    if validate is not None:
        context.validate = told
    if not console.is_terminal:
        reported = [0]

        def line(epoch: int, epochs: int, share: float, loss: float) -> None:
            quarter = int(share * 4)
            if (epoch, quarter) != (reported[0] // 5, reported[0] % 5) and quarter:
                reported[0] = epoch * 5 + quarter
                console.print(f"{run}: epoch {epoch}/{epochs} {share:4.0%} loss {loss:.4f}", highlight=False)

        context.progress = line
        yield
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("loss {task.fields[loss]:.4f}"), console=console) as bar:
        task = bar.add_task(run, total=100, loss=0.0)

        def move(epoch: int, epochs: int, share: float, loss: float) -> None:
            bar.update(task, total=epochs, completed=round(epoch - 1 + share, 2), loss=loss)

        context.progress = move
        yield
