"""`fedrec evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedrec.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from fedrec.checkpoints import Checkpoint
    from fedrec.evaluation.ranks import Ranks

_COLUMNS = ("hr@10", "ndcg@10", "mrr@10", "head/ndcg@10", "tail/ndcg@10")


def evaluate_command(
    path: Annotated[Path, typer.Argument(help="A run's folder, or one checkpoint of it.")],
    data: Annotated[
        Path | None, typer.Option(help="Prepared data folder; else the one trained on.")
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="full, sampled100, cold, comma-separated; all: those there are.")
    ] = "all",
    split: Annotated[str, typer.Option(help="Splits, comma-separated.")] = "validation,test",
    ranks: Annotated[
        Path | None, typer.Option(help="Write every user's rank to this .parquet file.")
    ] = None,
) -> None:
    """Measure a run's stages again, from their checkpoints and the prepared data."""
    from rich.console import Console

    from fedrec.checkpoints import load_checkpoint
    from fedrec.evaluation.ranks import RANKINGS
    from fedrec.evaluation.targets import SPLITS

    wanted = protocol if protocol != "all" else ",".join(RANKINGS)
    protocols = _choices("--protocol", wanted, tuple(RANKINGS))
    splits = _choices("--split", split, SPLITS)
    checkpoints = [load_checkpoint(found) for found in find_checkpoints(path)]
    measured = {
        checkpoint.manifest.stage: _rank(checkpoint, data, splits, protocols)
        for checkpoint in checkpoints
    }
    if not any(measured.values()):
        raise ConfigError(
            f"--protocol {protocol}, --split {split}: only test targets can be items that nobody "
            "trains on, in a folder of `fedrec prepare cold`"
        )
    Console().print(_table(measured))
    if ranks is not None:
        _write(ranks, measured, checkpoints)
        typer.echo(f"The rank of every user is in {ranks}.")


def find_checkpoints(path: Path) -> list[Path]:
    """The stage checkpoints of a run's folder in the order of the stages, or the one at `path`.

    Raises CheckpointError where there is none.
    """
    from fedrec.stages import STAGES

    if path.suffix == ".safetensors":
        return [path]
    found = [path / "checkpoints" / f"{stage}.safetensors" for stage in STAGES]
    found = [candidate for candidate in found if candidate.exists()]
    if not found:
        raise CheckpointError(f"{path} holds no checkpoints/<stage>.safetensors; is it a run?")
    return found


def _choices(option: str, text: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    chosen = tuple(part.strip() for part in text.split(",") if part.strip())
    for name in chosen:
        if name not in allowed:
            raise ConfigError(f"{option} {name!r}: must be one of {', '.join(allowed)}")
    if not chosen:
        raise ConfigError(f"{option} is empty: name one or more of {', '.join(allowed)}")
    return tuple(dict.fromkeys(chosen))


def _rank(
    checkpoint: Checkpoint, folder: Path | None, splits: tuple[str, ...], protocols: tuple[str, ...]
) -> list[Ranks]:
    from fedrec.data import PreparedData
    from fedrec.evaluation.checkpoint import checkpoint_config, rank_checkpoint
    from fedrec.evaluation.ranks import protocols_of
    from fedrec.evaluation.segments import item_segments, training_counts

    data = PreparedData.load(folder or checkpoint_config(checkpoint).run.data)
    segments = item_segments(training_counts(data))
    asked = {
        split: [name for name in protocols if name in protocols_of(data, split)] for split in splits
    }
    return [
        rank_checkpoint(checkpoint, data, split, protocols=names, segments=segments)
        for split, names in asked.items()
        if names
    ]


def _table(measured: dict[str, list[Ranks]]) -> Table:
    from rich.table import Table

    from fedrec.evaluation.metrics import metrics_from_sums, rank_sums

    table = Table("stage", "split", "protocol", *_COLUMNS)
    for stage, parts in measured.items():
        for part in parts:
            metrics = metrics_from_sums(rank_sums(part), part.split)
            for protocol, found in metrics.items():
                values = [found.get(name) for name in _COLUMNS]
                shown = ["-" if value is None else f"{value:.4f}" for value in values]
                table.add_row(stage, part.split, protocol, *shown)
    return table


def _write(path: Path, measured: dict[str, list[Ranks]], checkpoints: list[Checkpoint]) -> None:
    from fedrec.evaluation.checkpoint import checkpoint_config
    from fedrec.evaluation.rank_file import write_rank_file

    first = checkpoints[0]
    metadata = {
        "data": checkpoint_config(first).run.data,
        "evaluation.seed": str(checkpoint_config(first).evaluation.seed),
        **{c.manifest.stage: c.manifest.fingerprint for c in checkpoints},
    }
    write_rank_file(path, measured, metadata=metadata)
