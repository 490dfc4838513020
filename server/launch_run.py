"""One run from its settings to its table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import typer
from rich.console import Console

from fedrec.config import Config
from fedrec.processes import last_lines, require_free_port
from fedrec.report import Live, print_results
from server.launch import Launch, launch
from server.launch_again import launch_again
from server.launch_app import write_app
from server.launch_config import read_config
from server.launch_door import check_places
from server.launch_folder import CONFIG, LOG, run_folder
from server.launch_superlink import Door

RESTARTS = 3
"""How often in a row a server's processes may be killed without a round in between."""


def run_federation(
    settings: Sequence[str], *, resume: bool, force: bool, door: Door | None
) -> None:
    """Launch what the settings ask for and report it.

    door: where real clients come in; None = simulate them. Raises FedrecError for anything
    wrong with the settings before anything is started, typer.Exit(1) when the run fails.
    """
    config = read_config(settings, resume=resume)
    _check_data(config)
    if door is not None:
        check_places(door, config.federation.nodes)
        require_free_port(door.host, door.port)
    console = Console()
    out = Path(config.run.out)
    with run_folder(config, force=force) as log, _hint_when_interrupted(out):
        start = log.tell()
        outcome = launch_again(
            config,
            lambda asked: launch(_request(asked, log, door), _live(asked, console, door)),
            RESTARTS if door is not None else 0,
            _warn,
        )
    if outcome.error is not None:
        _report_failure(outcome.error, out / LOG, start)
        raise typer.Exit(1)
    print_results(out, console)


def _request(config: Config, log: IO[bytes], door: Door | None) -> Launch:
    return Launch(
        write_app=partial(write_app, config=config),
        out=Path(config.run.out),
        log=log,
        simulated_nodes=config.federation.nodes if door is None else None,
        door=door,
        threads=config.run.threads,
    )


def _live(config: Config, console: Console, door: Door | None) -> Live:
    nodes = config.federation.nodes
    if door is None:
        return Live(console, f"starting a simulation of {nodes} nodes")
    if door.folder is None:
        start = f"fedrec client --data DIR --insecure --server {door.host}:{door.port}"
        return Live(console, f"waiting for {nodes} clients; start each with: {start}")
    allowed, start = len(door.folder.nodes), "fedrec client --data DIR --deployment DIR/NODE"
    return Live(
        console,
        f"waiting at {door.folder.host}:{door.port} for {nodes} of the {allowed} allowed nodes; "
        f"start each with: {start}",
    )


@contextmanager
def _hint_when_interrupted(out: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if (out / CONFIG).exists():
            typer.echo(f"stopped; go on with --resume out={out}", err=True)
        raise


def _check_data(config: Config) -> None:
    """Raise DataError for data that cannot be read; warn of experts that are missing or blind."""
    from fedrec.data import PreparedData
    from fedrec.quality import lift_warnings

    data = PreparedData.load(config.run.data)
    wanted = config.model.modalities
    for expert, feature in wanted.items():
        if feature not in data.features:
            there = ", ".join(sorted(data.features)) or "none"
            _warn(
                f"{config.run.data} has no features {feature!r} (it has: {there}): the {expert} "
                f"expert is left out; {_without(expert)} says that this is meant"
            )
    if data.num_users and (config.stages.alignment.rounds or config.stages.routing.rounds):
        for warning in lift_warnings(data, wanted.values()):
            _warn(warning)


def _warn(text: str) -> None:
    typer.secho(text, fg=typer.colors.YELLOW, err=True)


def _without(expert: str) -> str:
    return (
        f'model.{expert}=""' if expert in ("visual", "semantic") else "a model.further without it"
    )


def _report_failure(error: str, log: Path, start: int) -> None:
    """The reason on one line, the end of this run's part of the log, and where the rest is."""
    typer.secho(f"the run failed: {error}", fg=typer.colors.RED, err=True)
    for line in last_lines(log, start):
        typer.echo(f"  {line}", err=True)
    typer.echo(f"The whole log is {log}", err=True)
