"""`fedrec deploy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedrec.deployment.certificates import SERVER_DAYS
from fedrec.processes.addresses import DEFAULT_PORT

deploy = typer.Typer(no_args_is_help=True, add_completion=False)

_Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the deployment.")]
_Days = Annotated[int, typer.Option(min=1, help="How long the server's certificate is valid.")]


@deploy.callback()
def _deploy() -> None:
    """Make certificates, keys, start commands and systemd units of a real federation.

    docs/deployment.md says what to do with them.
    """


@deploy.command("init")
def init_command(
    folder: _Folder,
    nodes: Annotated[int, typer.Option(min=1, help="How many nodes there will be.")],
    host: Annotated[
        str, typer.Option(help="DNS name or IP address under which nodes reach the server.")
    ],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Its port.")] = DEFAULT_PORT,
    days: _Days = SERVER_DAYS,
) -> None:
    """Write a new folder: ca/ stays with you, server/ and node-1/ ... go to their machines."""
    from fedrec.deployment.creation import init_deployment

    names = init_deployment(folder, nodes=nodes, host=host, port=port, days=days)
    typer.echo(f"{folder}/ca: the authority; keep it where only you can read it")
    typer.echo(f"{folder}/server: for the server {host}, port {port}")
    typer.echo(f"{folder}/{names[0]} to {names[-1]}: one for the machine of each node")


@deploy.command("add-node")
def add_node_command(
    folder: _Folder, name: Annotated[str, typer.Argument(help="Such as node-4.")]
) -> None:
    """Make a key and a folder for one more node, and put it on the server's list."""
    from fedrec.deployment.creation import add_node

    made = add_node(folder, name)
    typer.echo(f"{made}: for the machine of {name}")
    typer.echo(f"{folder}/server/nodes.toml: to the server")


@deploy.command("remove-node")
def remove_node_command(folder: _Folder, name: str) -> None:
    """Take a node off the server's list."""
    from fedrec.deployment.creation import remove_node

    remove_node(folder, name)
    typer.echo(f"{folder}/server/nodes.toml: to the server; {folder / name} is of no use any more")


@deploy.command("renew")
def renew_command(
    folder: _Folder,
    key: Annotated[
        str | None,
        typer.Option(metavar="NODE", help="A new key for this node instead."),
    ] = None,
    days: _Days = SERVER_DAYS,
) -> None:
    """Make a new server certificate from the same authority, or a new key for a node."""
    from fedrec.deployment.renewal import renew_node_key, renew_server_certificate

    if key is None:
        end = renew_server_certificate(folder, days=days)
        typer.echo(f"{folder}/server/server.crt and server.key: to the server")
        typer.echo(f"valid until {end:%Y-%m-%d}")
        return
    made = renew_node_key(folder, key)
    typer.echo(f"{made}/node.key and node.pub: to the machine of {key}")
    typer.echo(f"{folder}/server/nodes.toml: to the server")
