"""`fedrec prepare`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import click
import typer
from click.core import ParameterSource

from fedrec.data.derivations import DERIVATIONS, check_options, derive_folder
from fedrec.data.ordering import REPEATS
from fedrec.data.preparation import prepare
from fedrec.data.prepared import PreparedData
from fedrec.data.raw import Columns
from fedrec.data.registry import dataset_named
from fedrec.data.split import SPLITS, TEST_QUANTILE, VALIDATION_QUANTILE
from fedrec.errors import FedrecError
from fedrec.processes import stopped_by_exception

_FILES = "Which files"
_CHOICES = "What to keep and hold out"
_NAMES = "Columns (csv, parquet, recbole, mmrec)"
_DERIVED = "Cold items (cold)"


def prepare_command(
    name: Annotated[str, typer.Argument(help="Data set or file format.")],
    source: Annotated[
        Path | None,
        typer.Option(help="Publisher's archive or folder, or a file.", rich_help_panel=_FILES),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; else data/NAME.", rich_help_panel=_FILES)
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(help="Folder of feature files keyed by item.", rich_help_panel=_FILES),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace what was prepared before.", rich_help_panel=_FILES),
    ] = False,
    min_interactions: Annotated[
        int | None,
        typer.Option(min=1, help="k of the k-core; 1: no filter.", rich_help_panel=_CHOICES),
    ] = None,
    require_image: Annotated[
        bool | None,
        typer.Option(
            "--require-image/--no-require-image",
            help="Drop items without an image feature.",
            rich_help_panel=_CHOICES,
        ),
    ] = None,
    repeats: Annotated[
        str,
        typer.Option(
            help=f"A user and an item again: {', '.join(REPEATS)}.",
            rich_help_panel=_CHOICES,
        ),
    ] = REPEATS[0],
    split: Annotated[
        str | None,
        typer.Option(
            help=f"{' or '.join(SPLITS)} (by the publisher); else the data set's own.",
            rich_help_panel=_CHOICES,
        ),
    ] = None,
    validation_quantile: Annotated[
        float,
        typer.Option(help="Share of interactions before.", rich_help_panel=_CHOICES),
    ] = VALIDATION_QUANTILE,
    test_quantile: Annotated[
        float,
        typer.Option(help="Share of interactions before.", rich_help_panel=_CHOICES),
    ] = TEST_QUANTILE,
    validation_time: Annotated[
        int | None,
        typer.Option(help="Instead of the quantiles.", rich_help_panel=_CHOICES),
    ] = None,
    test_time: Annotated[
        int | None,
        typer.Option(help="Instead of the quantiles.", rich_help_panel=_CHOICES),
    ] = None,
    user_column: Annotated[str | None, typer.Option(rich_help_panel=_NAMES)] = None,
    item_column: Annotated[str | None, typer.Option(rich_help_panel=_NAMES)] = None,
    time_column: Annotated[str | None, typer.Option(rich_help_panel=_NAMES)] = None,
    position_column: Annotated[
        str | None,
        typer.Option(help="Orders a user's rows, instead of a time.", rich_help_panel=_NAMES),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(
            help="File of items: the item column, title, text, genres, image.",
            rich_help_panel=_NAMES,
        ),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(help="Of the items, that are cold; else 0.1.", rich_help_panel=_DERIVED),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Of the draw of cold items; else 0.", rich_help_panel=_DERIVED),
    ] = None,
) -> None:
    """Make a prepared data folder from a publisher's files, a local copy or the built-in set.

    NAME is ml-latest-small (built in), ml-100k, ml-1m, ml-20m, ml-25m, ml-32m, or the format of
    --source: recbole, mmrec, csv, parquet. Without --source, what is not built in is downloaded.
    With a prepared folder as --source it may be cold (some items never appear in training, and the
    test asks for them) or add-items (those of --items, which a trained model can recommend).
    """
    with _errors_in_words():
        given = _given_options()
        check_options(name, given)
    if name in DERIVATIONS:
        options: dict[str, Any] = {"source": source, "out": out, "force": force}
        options |= {"share": share, "seed": seed}
        options |= {"items": items, "item_column": item_column, "features": features}
        _derive(name, {option: options[option] for option in given})
        return
    columns = Columns(
        user=user_column,
        item=item_column,
        time=time_column,
        position=position_column,
        items=items,
    )
    with _errors_in_words(), stopped_by_exception():
        folder = prepare(
            name,
            source=source,
            out=out or Path("data") / _default_name(name, source),
            min_interactions=min_interactions,
            split=split,
            validation_quantile=validation_quantile,
            test_quantile=test_quantile,
            validation_time=validation_time,
            test_time=test_time,
            features=features,
            require_image=require_image,
            repeats=repeats,
            columns=columns,
            force=force,
            progress=True,
        )
        typer.echo(summary(PreparedData.load(folder)))


def _derive(name: str, given: Mapping[str, Any]) -> None:
    with _errors_in_words(), stopped_by_exception():
        folder, written = derive_folder(name, given)
        if not written:
            typer.echo(f"{folder} was made from the same folder with the same settings")
        typer.echo(summary(PreparedData.load(folder)))


def _given_options() -> list[str]:
    """The names of the options that stand on the command line."""
    context = click.get_current_context()
    named = (name for name in context.params if name != "name")
    return [n for n in named if context.get_parameter_source(n) is not ParameterSource.DEFAULT]


def summary(data: PreparedData) -> str:
    """A few lines for people: counts, held-out users, coverage of each modality, where it is."""
    rows = [
        ("users", f"{data.num_users:,}"),
        ("items", f"{data.num_items:,}"),
        *(() if not (new := data.num_items - data.warm_items) else (("of these new", f"{new:,}"),)),
        ("interactions", f"{len(data.items):,}"),
        ("validation users", f"{int((data.validation_position >= 0).sum()):,}"),
        ("test users", f"{int((data.test_position >= 0).sum()):,}"),
        *((f"{name} features", _described(table)) for name, table in data.features.items()),
        *(("note", note) for note in data.manifest.get("notes", ())),
        ("licence", data.manifest["licence"]),
        ("folder", str(data.path)),
    ]
    width = max(len(label) for label, _ in rows)
    return "\n".join((data.name, *(f"  {label:<{width}}  {value}" for label, value in rows)))


def _described(table: Any) -> str:
    return f"{table.coverage:.1%} of items, {table.dim} dimensions, {table.manifest['encoder']}"


def _default_name(name: str, source: Path | None) -> str:
    """The data set's name; for a file of one's own, the file's."""
    if source is None or not dataset_named(name).is_format:
        return name
    return source.resolve().name.split(".")[0] or name


@contextmanager
def _errors_in_words() -> Iterator[None]:
    try:
        yield
    except FedrecError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
