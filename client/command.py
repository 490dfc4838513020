"""`fedrec client`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedrec.errors import ConfigError
from fedrec.processes import is_loopback
from fedrec.processes.addresses import DEFAULT_PORT, split_address

if TYPE_CHECKING:
    from fedrec.deployment import NodeFolder

DEFAULT_SERVER = f"127.0.0.1:{DEFAULT_PORT}"


def client_command(
    data: Annotated[Path, typer.Option(help="Prepared folder with this client's users.")],
    deployment: Annotated[
        Path | None,
        typer.Option(metavar="DIR/NODE", help="This node's key and the CA, see `fedrec deploy`."),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Without encryption and without a key.")
    ] = False,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help=f"The server to join: the deployment's; with --insecure {DEFAULT_SERVER}.",
        ),
    ] = None,
    partition: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Hold part I (0 to N-1) of N of the folder's users, not all."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Device to train on, such as cpu or cuda.")] = "cpu",
    patience: Annotated[
        float,
        typer.Option(min=1.0, help="Seconds that the server may be out of reach before it leaves."),
    ] = 10.0,
    log: Annotated[Path | None, typer.Option(help="Keep Flower's log in this file.")] = None,
) -> None:
    """Train for a server on the users of a data folder, which stays here.

    Ends when the server has been out of reach for a while: its run is over, or it is gone. Exit
    code 1: the server was never there or does not let this node in; 2: something is wrong here.
    """
    from client.greeting import Apart
    from client.launch import Client, run_client

    folder = _folder(deployment, insecure=insecure)
    address = server or (folder.server if folder is not None else DEFAULT_SERVER)
    if folder is None and not is_loopback(split_address(address)[0]):
        typer.secho(
            f"WARNING: --insecure to {address}: nothing is encrypted, and whoever answers there "
            "is believed to be the server",
            fg=typer.colors.RED,
            bold=True,
            err=True,
        )
    client = Client(
        data=data,
        server=address,
        folder=folder,
        partition=partition,
        device=device,
        patience_s=patience,
    )
    try:
        run_client(client, log)
    except Apart as error:  # not 2, a mistake in these words: who starts it again may be let in
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from error


def _folder(deployment: Path | None, *, insecure: bool) -> NodeFolder | None:
    """The node's folder, checked; None where the connection is to be insecure.

    Raises ConfigError for a folder that is not in order, and unless it is clear which is meant.
    """
    from fedrec.deployment import check_node_folder, read_node_folder

    if insecure and deployment is None:
        return None
    if insecure or deployment is None:
        raise ConfigError(
            "one of --deployment DIR/NODE (`fedrec deploy init DIR` makes it) and --insecure is "
            "needed: without key and certificate, anybody may listen and nobody knows to whom"
        )
    folder = read_node_folder(deployment.expanduser())
    check_node_folder(folder, datetime.now(UTC))
    return folder
