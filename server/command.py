"""`fedrec run` and `fedrec server`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedrec.processes.addresses import DEFAULT_PORT

_Settings = Annotated[list[str] | None, typer.Argument(metavar="[CONFIG] [KEY=VALUE]...")]
_Resume = Annotated[bool, typer.Option("--resume", help="Go on where the run in `out` stopped.")]
_Force = Annotated[bool, typer.Option("--force", help="Replace the run in `out`.")]
_Metrics = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Serve metrics there for Prometheus, unencrypted."),
]


def run_command(
    settings: _Settings = None,
    resume: _Resume = False,
    force: _Force = False,
    metrics: _Metrics = None,
) -> None:
    """Train and evaluate a federation simulated on this machine.

    CONFIG is a configuration file or the name of a shipped one. KEY=VALUE overrides a setting:
    data=DIR (a prepared folder), out=DIR (the run's folder), seed=1, stages.backbone.rounds=50.
    """
    from server.launch_run import run_federation

    run_federation(settings or [], resume=resume, force=force, door=None, metrics=metrics)


def server_command(
    settings: _Settings = None,
    deployment: Annotated[
        Path | None,
        typer.Option(metavar="DIR/server", help="Certificate and keys, see `fedrec deploy`."),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Without encryption, and anybody may join.")
    ] = False,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on: all of them, with --insecure 127.0.0.1."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help=f"Port: the deployment's, else {DEFAULT_PORT}."),
    ] = None,
    database: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep Flower's state in this file, not in memory."),
    ] = None,
    resume: _Resume = False,
    force: _Force = False,
    metrics: _Metrics = None,
) -> None:
    """Train and evaluate with clients on other machines that join (see `fedrec client`).

    CONFIG is a configuration file or the name of a shipped one. KEY=VALUE overrides a setting:
    data=DIR (a prepared folder), out=DIR (the run's folder), federation.nodes=3 (how many clients
    to wait for).
    """
    from server.launch_door import door_of
    from server.launch_run import run_federation

    door = door_of(deployment, insecure=insecure, host=host, port=port, database=database)
    run_federation(settings or [], resume=resume, force=force, door=door, metrics=metrics)
