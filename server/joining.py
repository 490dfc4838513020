"""Whether nodes fit the server: the same program, the same settings, the same catalogue."""

from __future__ import annotations

from collections.abc import Iterable

from fedrec.config import Config, settings_fingerprint
from fedrec.data import PreparedData
from fedrec.errors import FedrecError
from fedrec.versions import versions_that_matter
from server.federation import NodeInfo


def check_joining(nodes: Iterable[NodeInfo], config: Config) -> None:
    """Raise FedrecError that names the first node that does not fit, and in what.

    A node that shares the server's data folder, as in a simulation, has its catalogue.
    """
    nodes = tuple(nodes)
    for node in nodes:
        _check_program(node, config)
    apart = [node for node in nodes if node.own_data]
    if apart:
        data = PreparedData.load(config.run.data)
        for node in apart:
            _check_catalogue(node, data)


def _check_program(node: NodeInfo, config: Config) -> None:
    theirs = dict(node.libraries)
    for library, ours in versions_that_matter().items():
        if theirs.get(library) != ours:
            raise FedrecError(
                f"{_named(node)} runs {library} {theirs.get(library, 'of an unknown version')}, "
                f"the server {ours}: install the same on both"
            )
    if node.settings != (ours := settings_fingerprint(config)):
        raise FedrecError(
            f"{_named(node)} reads other settings ({node.settings[:12] or 'none'}) from the run's "
            f"configuration than the server ({ours[:12]}): install the same fedrec on both"
        )


def _check_catalogue(node: NodeInfo, data: PreparedData) -> None:
    for what, theirs, ours in (
        ("items and features", node.catalogue, data.catalogue_fingerprint),
        ("new items and features", node.new_items, data.new_items_fingerprint),
    ):
        if theirs != ours:
            raise FedrecError(
                f"{_named(node)} has other {what} ({theirs[:12]}) than the server's {data.path} "
                f"({ours[:12]}): `fedrec partition` gives all of them the same"
            )


def _named(node: NodeInfo) -> str:
    return f"node of partition {node.partition}"
