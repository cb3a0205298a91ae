"""`recsys smoke`: a real server on the package, good and bad requests."""

from pathlib import Path
from typing import Annotated

import typer


def smoke(
    package: Annotated[Path, typer.Option(help="The package.")],
    test: Annotated[Path, typer.Option(help="Test sessions.")],
    items: Annotated[Path, typer.Option(help="Their vocabulary.")],
    output: Annotated[Path, typer.Option(help="Where to write the checks.")],
    settings: Annotated[str, typer.Option(help="JSON with serve.")] = "{}",
) -> None:
    """Serve the package and check every answer and every refusal."""
    from recsys.errors import PackageError
    from recsys.files import write_json
    from recsys.serving.quiet import quiet_mlflow
    from recsys.serving.settings import read_settings
    from recsys.serving.smoke import smoke_test

    quiet_mlflow()
    found = smoke_test(package, test, items, read_settings(settings))
    failed = [check for check in found["checks"] if not check["ok"]]
    if failed:
        named = "; ".join(f"{check['name']} (HTTP {check['status']})" for check in failed)
        raise PackageError(f"the server failed {len(failed)} of {len(found['checks'])} checks: {named}")
    write_json(output, found)
    print(f"the server passed {len(found['checks'])} checks")
