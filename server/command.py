"""`fedrec run` and `fedrec server`."""

from __future__ import annotations

from typing import Annotated

import typer

from fedrec.errors import ConfigError
from fedrec.processes import is_loopback

_Settings = Annotated[list[str] | None, typer.Argument(metavar="[CONFIG] [KEY=VALUE]...")]
_Resume = Annotated[bool, typer.Option("--resume", help="Go on where the run in `out` stopped.")]
_Force = Annotated[bool, typer.Option("--force", help="Replace the run in `out`.")]


def run_command(settings: _Settings = None, resume: _Resume = False, force: _Force = False) -> None:
    """Train and evaluate a federation simulated on this machine.

    CONFIG is a configuration file or the name of a shipped one. KEY=VALUE overrides a setting:
    data=DIR (a prepared folder), out=DIR (the run's folder), seed=1, stages.backbone.rounds=50.
    """
    from server.launch_run import run_federation

    run_federation(settings or [], resume=resume, force=force, deployment=None)


def server_command(
    settings: _Settings = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    resume: _Resume = False,
    force: _Force = False,
) -> None:
    """Train and evaluate with clients that connect to this machine (see `fedrec client`).

    CONFIG is a configuration file or the name of a shipped one. KEY=VALUE overrides a setting:
    data=DIR (a prepared folder), out=DIR (the run's folder), federation.nodes=3 (how many clients
    to wait for).
    """
    from server.launch_run import run_federation

    require_loopback(host)
    run_federation(settings or [], resume=resume, force=force, deployment=(host, port))


def require_loopback(host: str) -> None:
    """Raise ConfigError for an address that other machines can reach: nothing is encrypted yet."""
    if not is_loopback(host):
        raise ConfigError(
            f"--host {host}: must be localhost or an address such as 127.0.0.1; "
            f"connections are not encrypted, so other machines must not connect"
        )
