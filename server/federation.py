"""The nodes of a run: who is there, how many users they have, and whether they fit together."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedrec import wire
from fedrec.errors import FedrecError
from fedrec.training.randomness import cohort_positions

LOG = logging.getLogger(__name__)
_POLL_S = 0.5


@dataclass(frozen=True)
class NodeInfo:
    """What a node says of itself. trainable: users that can train. num_items, catalogue: how many
    items are trained, and the fingerprint of them and their features. cold_targets: whether its
    test targets are other items. new_items: the fingerprint of those, or `none`. users: all that
    it has; None where that is not known, and any number is believed."""

    node_id: int
    partition: int
    trainable: int
    num_items: int
    catalogue: str
    feature_dims: tuple[tuple[str, int], ...]
    cold_targets: bool = False
    new_items: str = "none"
    users: int | None = None


@dataclass(frozen=True)
class Federation:
    """All nodes, ordered by partition, so that a population does not depend on how it is dealt."""

    nodes: tuple[NodeInfo, ...]

    @property
    def population(self) -> int:
        """Users that can train, over all nodes."""
        return sum(node.trainable for node in self.nodes)

    @property
    def new_items(self) -> str:
        """The fingerprint of the items that nobody trains; all nodes are alike in it."""
        return self.nodes[0].new_items

    @property
    def cold_targets(self) -> bool:
        """Whether test targets are items that nobody trains; all nodes are alike in it."""
        return self.nodes[0].cold_targets

    def cohort(
        self, seed: int, purpose: str, round_number: int, size: int
    ) -> Iterator[tuple[NodeInfo, list[int]]]:
        """The nodes that have users in a round's cohort, with these users' positions there."""
        positions = cohort_positions(
            seed, purpose, round_number, population=self.population, size=size
        )
        start = 0
        for node in self.nodes:
            end = start + node.trainable
            members = positions[(positions >= start) & (positions < end)] - start
            if len(members):
                yield node, members.tolist()
            start = end


def gather_federation(
    grid: Grid, *, nodes: int, timeout_s: float, reply_timeout_s: float
) -> Federation:
    """Wait for `nodes` nodes, ask each what it has, and check that they fit together.

    Raises FedrecError when fewer register in time, one does not answer, or two differ in catalogue.
    """
    node_ids = _wait_for_nodes(grid, nodes, timeout_s)
    asked = [
        Message(
            content=RecordDict({wire.CONFIG: ConfigRecord({})}),
            dst_node_id=node_id,
            message_type=MessageType.QUERY,
        )
        for node_id in node_ids
    ]
    replies = list(grid.send_and_receive(asked, timeout=reply_timeout_s))
    failed = [reply for reply in replies if reply.has_error()]
    if failed or len(replies) < len(asked):
        reason = failed[0].error.reason if failed else f"no answer in {reply_timeout_s:g} s"
        raise FedrecError(
            f"{len(asked) - len(replies) + len(failed)} of {len(asked)} nodes are not ready: "
            f"{reason}"
        )
    infos = sorted(map(_info, replies), key=lambda info: (info.partition, info.node_id))
    _check_alike(infos)
    federation = Federation(tuple(infos))
    if federation.population == 0:
        raise FedrecError(f"none of the {len(infos)} nodes has a user with enough history to train")
    return federation


def _wait_for_nodes(grid: Grid, nodes: int, timeout_s: float) -> list[int]:
    deadline = time.monotonic() + timeout_s
    while len(present := sorted(grid.get_node_ids())) < nodes:
        if time.monotonic() > deadline:
            raise FedrecError(f"{len(present)} of {nodes} nodes registered within {timeout_s:g} s")
        time.sleep(_POLL_S)
    return present


def _info(reply: Message) -> NodeInfo:
    record = reply.content.config_records[wire.CONFIG]
    dims = {
        key.removeprefix(wire.FEATURE_DIM): cast(int, value)
        for key, value in record.items()
        if key.startswith(wire.FEATURE_DIM)
    }
    return NodeInfo(
        node_id=reply.metadata.src_node_id,
        partition=cast(int, record[wire.PARTITION]),
        trainable=cast(int, record[wire.TRAINABLE]),
        num_items=cast(int, record[wire.ITEMS]),
        catalogue=cast(str, record[wire.CATALOGUE]),
        feature_dims=tuple(sorted(dims.items())),
        cold_targets=bool(record[wire.COLD_TARGETS]),
        new_items=cast(str, record[wire.NEW_ITEMS]),
        users=cast(int, record[wire.HELD_USERS]),
    )


def _check_alike(infos: Sequence[NodeInfo]) -> None:
    first = infos[0]
    for info in infos[1:]:
        if info.cold_targets != first.cold_targets:
            raise FedrecError(
                f"nodes of partitions {first.partition} and {info.partition} do not test alike: "
                "one asks for items that nobody trains, the other for trained ones"
            )
        if info.new_items != first.new_items:
            raise FedrecError(
                f"nodes of partitions {first.partition} and {info.partition} rank among different "
                f"new items ({first.new_items[:12]}, {info.new_items[:12]}): "
                "what they measure cannot be added up"
            )
        if (info.catalogue, info.num_items, info.feature_dims) != (
            first.catalogue,
            first.num_items,
            first.feature_dims,
        ):
            raise FedrecError(
                f"node of partition {info.partition} has catalogue {info.catalogue[:12]} "
                f"({info.num_items} items, features {dict(info.feature_dims)}), node of partition "
                f"{first.partition} has {first.catalogue[:12]} ({first.num_items} items, "
                f"features {dict(first.feature_dims)}): all must share one catalogue"
            )
