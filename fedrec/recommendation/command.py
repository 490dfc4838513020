"""`fedrec recommend`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedrec.errors import CheckpointError
from fedrec.evaluation.command import find_checkpoints

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from fedrec.recommendation.best import Recommendation


def recommend_command(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    user: Annotated[str, typer.Option(metavar="KEY", help="The user, as in users.parquet.")],
    count: Annotated[int, typer.Option(min=1, help="How many items to show.")] = 10,
    stage: Annotated[
        str | None, typer.Option(help="Which stage's model; else the last there is.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Prepared folder, maybe with new items; else the one trained on."),
    ] = None,
    new_only: Annotated[
        bool, typer.Option("--new-only", help="Show only items that nobody trained on.")
    ] = False,
) -> None:
    """Show what a trained model recommends to a user, new items included."""
    from rich.console import Console

    from fedrec.checkpoints import load_checkpoint
    from fedrec.data import PreparedData
    from fedrec.evaluation.checkpoint import checkpoint_config
    from fedrec.recommendation.best import recommend, user_of

    checkpoint = load_checkpoint(find_checkpoint(run, stage))
    prepared = PreparedData.load(data or checkpoint_config(checkpoint).run.data)
    number = user_of(prepared, user)
    found = recommend(checkpoint, prepared, number, count=count, new_only=new_only)
    seen = len(prepared.history(number))
    typer.echo(f"user {user} has had {seen:,} items; stage {checkpoint.manifest.stage} recommends")
    Console().print(recommendation_table(found))
    if len(found) < count:
        typer.echo(f"There are no more than {len(found)}.")


def find_checkpoint(run: Path, stage: str | None) -> Path:
    """The checkpoint of a stage, None: of the last that has one. Raises CheckpointError."""
    there = {path.stem: path for path in find_checkpoints(run)}
    if stage is not None and stage not in there:
        raise CheckpointError(f"{run} has no checkpoint of {stage!r}; it has {', '.join(there)}")
    return there[stage or list(there)[-1]]


def recommendation_table(found: Sequence[Recommendation]) -> Table:
    """Rank, key, title, score, and a mark on items that nobody trained on."""
    from rich.table import Table
    from rich.text import Text

    table = Table("rank", "item", "title", "score", "")
    for rank, one in enumerate(found, 1):
        mark = "new" if one.new else ""
        table.add_row(str(rank), Text(one.key), Text(one.title), f"{one.score:.3f}", mark)
    return table
