"""A node that does not fit the server is named, and so is what differs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fedrec.config import Config, settings_fingerprint
from fedrec.data import PreparedData
from fedrec.errors import FedrecError
from fedrec.versions import versions_that_matter
from server.federation import NodeInfo, gather_federation
from server.joining import check_joining
from tests.loopback import LoopbackGrid, write_shop


@pytest.fixture
def config(small_config: Callable[..., Config]) -> Config:
    return small_config()


@pytest.fixture
def node(config: Config) -> NodeInfo:
    """A node with a folder of its own that fits."""
    data = PreparedData.load(config.run.data)
    return NodeInfo(
        node_id=7,
        partition=1,
        trainable=5,
        num_items=24,
        catalogue=data.catalogue_fingerprint,
        feature_dims=(),
        new_items=data.new_items_fingerprint,
        own_data=True,
        libraries=tuple(versions_that_matter().items()),
        settings=settings_fingerprint(config),
    )


def test_a_node_that_fits(node: NodeInfo, config: Config) -> None:
    check_joining([node], config)


def test_real_nodes_fit(config: Config, loopback: type[LoopbackGrid]) -> None:
    grid = loopback(config, 2)
    found = gather_federation(grid, nodes=2, timeout_s=1.0, reply_timeout_s=1.0)  # type: ignore[arg-type]
    assert {name for name, _ in found.nodes[0].libraries} == {"fedrec", "flwr", "torch"}
    assert found.nodes[0].settings == settings_fingerprint(config)
    assert not found.nodes[0].own_data
    check_joining(found.nodes, config)


@pytest.mark.parametrize("library", ["fedrec", "flwr", "torch"])
def test_another_version_is_refused(node: NodeInfo, config: Config, library: str) -> None:
    ours = versions_that_matter()
    other = replace(node, libraries=tuple({**ours, library: "0.1"}.items()))
    with pytest.raises(
        FedrecError, match=f"partition 1 runs {library} 0.1, the server {ours[library]}"
    ):
        check_joining([node, other], config)
    silent = replace(node, libraries=())
    with pytest.raises(FedrecError, match="of an unknown version"):
        check_joining([silent], config)


def test_other_settings_are_refused(node: NodeInfo, config: Config) -> None:
    with pytest.raises(FedrecError, match="partition 1 reads other settings"):
        check_joining([replace(node, settings="e" * 64)], config)


def test_a_node_whose_features_are_not_the_servers_is_refused(
    node: NodeInfo, config: Config, tmp_path: Path
) -> None:
    other = PreparedData.load(write_shop(tmp_path / "other", users=5, items=24, seed=9))
    stranger = replace(node, catalogue=other.catalogue_fingerprint)
    with pytest.raises(FedrecError, match="partition 1 has other items and features"):
        check_joining([stranger], config)
    with pytest.raises(FedrecError, match="partition 1 has other new items"):
        check_joining([replace(node, new_items="f" * 64)], config)
    check_joining([replace(stranger, own_data=False)], config)
