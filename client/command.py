"""`fedrec client`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def client_command(
    data: Annotated[Path, typer.Option(help="Prepared folder with this client's users.")],
    server: Annotated[str, typer.Option(metavar="HOST:PORT", help="The server to join.")] = (
        "127.0.0.1:8000"
    ),
    partition: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Hold part I (0 to N-1) of N of the folder's users, not all."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Device to train on, such as cpu or cuda.")] = "cpu",
    log: Annotated[Path | None, typer.Option(help="Keep Flower's log in this file.")] = None,
) -> None:
    """Train for a server on the users of a data folder, which stays here.

    Ends when the server has been out of reach for a while: its run is over, or it is gone.
    """
    from client.launch import Client, run_client

    run_client(Client(data=data, server=server, partition=partition, device=device), log)
