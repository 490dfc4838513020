"""`fedrec partition`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedrec.data.dealing import BY_USERS


def partition_command(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Prepared folder.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    nodes: Annotated[int | None, typer.Option(min=1, help="How many nodes.")] = None,
    by: Annotated[
        str,
        typer.Option(
            metavar="users|COLUMN",
            help="Deal users by work, or make a node of every value of a column.",
        ),
    ] = BY_USERS,
    users: Annotated[
        Path | None,
        typer.Option(help="File with the columns user and COLUMN, .csv or .parquet."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a partition in OUT.")] = False,
) -> None:
    """Cut a prepared folder into one folder a node, with that node's users and all items.

    OUT/server has the items and nobody: the server's data. The folders are for `fedrec client` and
    `fedrec server`; a federation over them trains and measures what a simulation over DATA does.
    """
    from fedrec.data.parting import partition_folder

    for node in partition_folder(data, out, nodes=nodes, by=by, users=users, force=force):
        named = f"  {by} = {node['value']}" if "value" in node else ""
        counts = f"{node['users']:,} users, {node['interactions']:,} interactions"
        typer.echo(f"{out / node['folder']}  {counts}{named}")
    typer.echo(f"{out / 'server'}  the items, and no user")
