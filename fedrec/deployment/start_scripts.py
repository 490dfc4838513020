"""The shell scripts that start a server and a node from their own folder.

They hold no path of the machine they were made on: what differs between machines comes from the
environment, so a folder works wherever it is carried.
"""

from __future__ import annotations

_SERVER = """\
#!/bin/sh
# Starts the server from the folder that this file is in. Options and KEY=VALUE may follow.
# FEDREC: the program. FEDREC_OUT: the run's folder; a run that is there already is gone on with.
# For a new run FEDREC_CONFIG: a configuration; FEDREC_DATA: a prepared folder; FEDREC_NODES: how
# many nodes to wait for.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
out=${FEDREC_OUT:-/var/lib/fedrec/run}
if [ -f "$out/config.toml" ]; then
    exec "${FEDREC:-fedrec}" server --deployment "$here" --resume "out=$out" "$@"
fi
exec "${FEDREC:-fedrec}" server --deployment "$here" "${FEDREC_CONFIG:-default}" \\
    "data=${FEDREC_DATA:-/var/lib/fedrec/data}" "out=$out" \\
    "federation.nodes=${FEDREC_NODES:-NODES}" "$@"
"""

_CLIENT = """\
#!/bin/sh
# Joins the server from the folder that this file is in. Options of `fedrec client` may follow.
# FEDREC: the program. FEDREC_DATA: the prepared folder with this node's users.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
exec "${FEDREC:-fedrec}" client --deployment "$here" \\
    --data "${FEDREC_DATA:-/var/lib/fedrec/data}" "$@"
"""


def server_script(nodes: int) -> str:
    """start.sh of the folder of a server that waits for so many nodes."""
    return _SERVER.replace("NODES}", f"{nodes}}}")


def client_script() -> str:
    """start.sh of a node's folder."""
    return _CLIENT
