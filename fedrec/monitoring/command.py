"""`fedrec status`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def status_command(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Tell what a run is doing, or what it was doing when it died.

    Ends with 0 for a run that is running or finished, with 1 for one that failed, was stopped or
    killed, or never began.
    """
    from fedrec.monitoring.run_summary import summarize
    from fedrec.monitoring.summary_text import summary_text

    summary = summarize(run)
    typer.echo(json.dumps(summary.as_json()) if as_json else summary_text(summary))
    if not summary.alive_or_done:
        raise typer.Exit(1)
