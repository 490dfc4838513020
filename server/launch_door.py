"""Where clients are to come in, from what the command line says; checked before anything starts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import typer

from fedrec.config import Config
from fedrec.deployment import ServerFolder, check_server_folder, read_server_folder
from fedrec.deployment.certificates import read_certificate
from fedrec.deployment.checks import how_to_renew
from fedrec.errors import ConfigError
from fedrec.processes import is_loopback
from fedrec.processes.addresses import DEFAULT_PORT
from server.launch_superlink import LOOPBACK, Door

ANY_HOST, ANY_IPV6_HOST = "0.0.0.0", "::"  # noqa: S104  a name for it; who asks is warned
SOON = timedelta(days=30)
"""A certificate that ends within this time is warned of."""


def door_of(
    deployment: Path | None,
    *,
    insecure: bool,
    host: str | None = None,
    port: int | None = None,
    database: Path | None = None,
) -> Door:
    """The door of a deployment's server folder, or with `insecure` one without lock.

    host, port: to listen on; None = the deployment's port on all addresses, or port 8000 of this
    machine. Raises ConfigError for a folder that is not in order, and unless it is clear which of
    the two is meant.
    """
    where = None if database is None else database.expanduser().absolute()
    if deployment is not None and not insecure:
        folder = read_server_folder(deployment.expanduser())
        check_server_folder(folder, datetime.now(UTC))
        _warn_of_end(folder, datetime.now(UTC))
        every = ANY_IPV6_HOST if ":" in folder.host else ANY_HOST
        return Door(host=host or every, port=port or folder.port, folder=folder, database=where)
    if deployment is not None or not insecure:
        raise ConfigError(
            "one of --deployment DIR/server (`fedrec deploy init DIR` makes it) and --insecure is "
            "needed: without certificate and keys, anybody may join and everybody may listen"
        )
    _warn_of_openness(host or LOOPBACK)
    return Door(host=host or LOOPBACK, port=port or DEFAULT_PORT, database=where)


def check_places(door: Door, config: Config) -> None:
    """Raise ConfigError where a run needs more nodes than are allowed to join.

    A new one needs all; one that goes on may do without nodes that were removed meanwhile.
    """
    if door.folder is None:
        return
    allowed, nodes = len(door.folder.nodes), config.federation.nodes
    listed = f"{door.folder.path / 'nodes.toml'} allows {allowed}; `fedrec deploy add-node` adds"
    if not config.run.resume and nodes > allowed:
        raise ConfigError(f"federation.nodes = {nodes}: must be at most {allowed}: {listed} one")
    if (fewest := config.federation.fewest_nodes) > allowed:
        raise ConfigError(
            f"a run with federation.nodes = {nodes} and federation.min_replies = "
            f"{config.federation.min_replies:g} goes on with {fewest} or more: {listed} others"
        )


def _warn_of_openness(host: str) -> None:
    if not is_loopback(host):
        _warn(
            f"WARNING: --insecure on {host}: whoever reaches it may join and read every model and "
            "update; nothing is encrypted and nobody is asked for a key"
        )


def _warn_of_end(folder: ServerFolder, now: datetime) -> None:
    for path in (folder.certificate, folder.ca):
        certificate = read_certificate(path)
        if (end := certificate.not_valid_after_utc) < now + SOON:
            _warn(f"{path} ends on {end:%Y-%m-%d}; {how_to_renew(certificate)}")


def _warn(text: str) -> None:
    typer.secho(text, fg=typer.colors.RED, bold=True, err=True)
