"""The files of a real federation: certificates, keys, lists of nodes, start commands.

`fedrec deploy init` writes them, `fedrec server` and `fedrec client` start from them. Nothing here
starts a process or opens a connection. docs/deployment.md describes the folders.
"""

from fedrec.deployment.checks import check_node_folder, check_server_folder
from fedrec.deployment.creation import add_node, init_deployment, remove_node
from fedrec.deployment.folders import (
    NodeFolder,
    ServerFolder,
    read_node_folder,
    read_server_folder,
)
from fedrec.deployment.renewal import renew_node_key, renew_server_certificate

__all__ = [
    "NodeFolder",
    "ServerFolder",
    "add_node",
    "check_node_folder",
    "check_server_folder",
    "init_deployment",
    "read_node_folder",
    "read_server_folder",
    "remove_node",
    "renew_node_key",
    "renew_server_certificate",
]
