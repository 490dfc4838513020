"""`fedrec extract`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from fedrec.errors import ConfigError
from fedrec.processes import stopped_by_exception

_DEVICES = re.compile(r"auto|cpu|cuda(:\d+)?")
_TEXT, _IMAGE, _MEANS, _IMPORT = "Texts", "Pictures", "How", "Features computed elsewhere"


def extract_command(
    data: Annotated[Path, typer.Argument(help="Prepared folder.")],
    images: Annotated[
        Path | None,
        typer.Option(help="Folder with the items' pictures.", rich_help_panel=_IMAGE),
    ] = None,
    image_encoder: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="open_clip:MODEL/PRETRAINED, open_clip:MODEL/FILE or timm:MODEL/FILE.",
            rich_help_panel=_IMAGE,
        ),
    ] = None,
    image_axes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Keep that many principal axes; else all dimensions.",
            rich_help_panel=_IMAGE,
        ),
    ] = None,
    image_name: Annotated[
        str | None, typer.Option(help="Name of the feature file.", rich_help_panel=_IMAGE)
    ] = None,
    text_encoder: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="sbert:NAME, sbert:FOLDER, or open_clip:... for its text tower.",
            rich_help_panel=_TEXT,
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            metavar="TEMPLATE",
            help="What is read of an item, e.g. '{title} ({genres}). {plot}'; else '{text}'.",
            rich_help_panel=_TEXT,
        ),
    ] = None,
    text_name: Annotated[
        str | None, typer.Option(help="Name of the feature file.", rich_help_panel=_TEXT)
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=_MEANS)
    ] = "auto",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Else the encoder's own.", rich_help_panel=_MEANS)
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Else one a core.", rich_help_panel=_MEANS)
    ] = None,
    imported: Annotated[
        str | None,
        typer.Option(
            "--import", metavar="NAME=FILE.npy", help="Rows to bring in.", rich_help_panel=_IMPORT
        ),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(help="CSV file: which row is which item's.", rich_help_panel=_IMPORT),
    ] = None,
) -> None:
    """Turn the items' texts and pictures into features, with pretrained encoders.

    Without an encoder named, texts are extracted, and pictures too where --images is given; else
    only what an encoder is named for. What was encoded before is not encoded again, and a run that
    was stopped goes on where it was. --import brings in features that were computed elsewhere.
    """
    request = {
        "images": images,
        "image_encoder": image_encoder,
        "image_axes": image_axes,
        "image_name": image_name,
        "text_encoder": text_encoder,
        "text": text,
        "text_name": text_name,
    }
    if imported is not None:
        _import(data, imported, index, {name for name, value in request.items() if value})
    elif index is not None:
        raise ConfigError(f"--index {index}: belongs to --import NAME=FILE.npy, which is missing")
    else:
        with _going_on():
            _extract({"data": data, **request}, device, batch_size, threads)
    typer.echo(f"Is there signal in them? fedrec quality {data}")


def _extract(
    request: dict[str, Any], device: str, batch_size: int | None, threads: int | None
) -> None:
    from rich.console import Console

    from features.job import Means
    from features.request import Request, carry_out

    if not _DEVICES.fullmatch(device):
        raise ConfigError(f"--device {device!r}: expected auto, cpu, cuda or cuda:N")
    means = Means(
        device=device,
        batch_size=batch_size,
        threads=threads or _cores(),
        console=Console(stderr=True),
    )
    for outcome in carry_out(Request(**request), means):
        typer.echo("\n".join(outcome.lines()))


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _import(data: Path, named: str, index: Path | None, others: set[str]) -> None:
    from features.locking import locked
    from fedrec.data.importing import import_features

    name, equals, file = named.partition("=")
    if not (name and equals and file):
        raise ConfigError(f"--import {named!r}: expected NAME=FILE.npy")
    if others:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(others))
        raise ConfigError(f"--import stands alone; leave out {options}")
    with locked(data, typer.echo) if data.is_dir() else nullcontext():
        report = import_features(data, name, Path(file), index)
    typer.echo("\n".join(report.lines()))


@contextmanager
def _going_on() -> Iterator[None]:
    """Let a termination signal raise, so that all files are closed; say how to go on."""
    with stopped_by_exception():
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            typer.echo("stopped; run the same command again to go on", err=True)
            raise
