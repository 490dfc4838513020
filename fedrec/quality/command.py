"""`fedrec quality`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedrec.errors import ConfigError


def quality_command(
    data: Annotated[Path, typer.Argument(help="Prepared data folder.")],
    json: Annotated[Path | None, typer.Option(help="Write every number to this file.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw into this .png, .svg or .pdf file.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of samples, shuffles and intervals.")] = 0,
) -> None:
    """Measure whether item features carry signal for recommending, before anyone trains on them.

    Users' validation items are held against unseen items: are they closer to what the user had
    before? Test items are never looked at. docs/quality.md explains every number.
    """
    from rich.console import Console

    from fedrec.data.atomic import write_json
    from fedrec.data.prepared import PreparedData
    from fedrec.quality.measure import as_json, measure_quality
    from fedrec.quality.picture import draw_quality, require_drawing
    from fedrec.quality.table import quality_tables, sizes_line
    from fedrec.quality.warning import quality_warnings

    for option, path in (("--json", json), ("--picture", picture)):
        _require_folder(option, path)
    if picture is not None:
        require_drawing(picture)
    quality = measure_quality(PreparedData.load(data, verify=True), seed=seed)
    console = Console()
    for table in quality_tables(quality):
        console.print(table)
    typer.echo(sizes_line(quality))
    for sentence in quality_warnings(quality):
        typer.secho(f"warning: {sentence}", fg=typer.colors.YELLOW, err=True)
    if json is not None:
        write_json(json, as_json(quality))
        typer.echo(f"Every number is in {json}.")
    if picture is not None:
        draw_quality(quality, picture)
        typer.echo(f"The picture is {picture}.")


def _require_folder(option: str, path: Path | None) -> None:
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise ConfigError(f"{option} {path}: expected a file in a folder that exists")
