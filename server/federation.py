"""The nodes of a run: who is there, what can be drawn there, and whether they fit together."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from numpy.typing import NDArray

from fedrec import wire
from fedrec.errors import FedrecError
from fedrec.training.randomness import cohort_positions, stand_in_positions
from server.description import read_description
from server.refusal import Refused

if TYPE_CHECKING:
    from server.attendance import AsksNodes

LOG = logging.getLogger(__name__)
T = TypeVar("T", int, str)
_POLL_S = 0.5


class PlaceTaken(FedrecError):
    """A node says that it is one that is still there."""


@dataclass(frozen=True)
class NodeInfo:
    """What a node says of itself. trainable: what cohorts can draw there, users or windows of their
    histories (`federation.draw`). num_items, catalogue: how many items are trained, and the
    fingerprint of them and their features. cold_targets: whether its test targets are other items.
    new_items: the fingerprint of those, or `none`. users: all that it has; None where that is not
    known, and any number is believed. own_data: whether its data folder is not the server's.
    libraries: their versions. settings: their fingerprint."""

    node_id: int
    partition: int
    trainable: int
    num_items: int
    catalogue: str
    feature_dims: tuple[tuple[str, int], ...]
    cold_targets: bool = False
    new_items: str = "none"
    users: int | None = None
    own_data: bool = False
    libraries: tuple[tuple[str, str], ...] = ()
    settings: str = ""


@dataclass(frozen=True)
class Federation:
    """All nodes, ordered by partition, so that a population does not depend on how it is dealt."""

    nodes: tuple[NodeInfo, ...]

    @property
    def population(self) -> int:
        """What cohorts are drawn from: users or windows (`federation.draw`), over all nodes."""
        return sum(node.trainable for node in self.nodes)

    def names(self) -> dict[int, str]:
        """Node id -> what the node is known by, also when it comes back under another id: its
        partition, how much can be drawn there, and its place among nodes alike in both."""
        alike: dict[tuple[int, int], int] = {}
        names = {}
        for node in self.nodes:
            key = node.partition, node.trainable
            alike[key] = alike.get(key, 0) + 1
            names[node.node_id] = f"{node.partition}/{node.trainable}/{alike[key]}"
        return names

    @property
    def new_items(self) -> str:
        """The fingerprint of the items that nobody trains; all nodes are alike in it."""
        return self.nodes[0].new_items

    @property
    def cold_targets(self) -> bool:
        """Whether test targets are items that nobody trains; all nodes are alike in it."""
        return self.nodes[0].cold_targets

    def admitting(
        self, info: NodeInfo, there: Collection[int]
    ) -> tuple[Federation, NodeInfo | None]:
        """The federation with a node that has appeared, and what this was before, if anything: one
        that came back under another id takes its former place, any other is added.

        there: ids of the nodes that are connected and not known to be silent. Raises FedrecError
        where it does not fit to the others, PlaceTaken where it must wait for its place.
        """
        _check_alike([self.nodes[0], info])
        former = self._former(info, there)
        others = [node for node in self.nodes if node is not former]
        return Federation(tuple(sorted([*others, info], key=_place))), former

    def _former(self, info: NodeInfo, there: Collection[int]) -> NodeInfo | None:
        """The node that this one was before: of the same partition and size, and not there.

        Where every node has a partition of its own, one that is there is no other's to take.
        """
        same = [
            node
            for node in self.nodes
            if (node.partition, node.trainable) == (info.partition, info.trainable)
        ]
        gone = [node for node in same if node.node_id not in there]
        told_apart = 1 < len(self.nodes) == len({node.partition for node in self.nodes})
        if same and told_apart and not gone:
            raise PlaceTaken(
                f"partition {info.partition} is node {same[0].node_id}'s, which is there"
            )
        return next(iter(gone), None)

    def cohort(
        self, seed: int, purpose: str, round_number: int, size: int
    ) -> Iterator[tuple[NodeInfo, list[int]]]:
        """The nodes that a round's cohort falls on, and at which positions there."""
        positions = cohort_positions(
            seed, purpose, round_number, population=self.population, size=size
        )
        return self._dealt(positions)

    def stand_ins(
        self,
        seed: int,
        purpose: str,
        round_number: int,
        attempt: int,
        *,
        size: int,
        taken: Mapping[int, Sequence[int]],
    ) -> Iterator[tuple[NodeInfo, list[int]]]:
        """Up to `size` in the place of those that a round has lost: the nodes that they are on, and
        at which positions there. taken: those that the round has drawn already, by node id."""
        starts = np.cumsum([0, *(node.trainable for node in self.nodes)])
        parts = [
            start + np.asarray(taken.get(node.node_id, ()), np.int64)
            for node, start in zip(self.nodes, starts[:-1], strict=True)
        ]
        positions = stand_in_positions(
            seed,
            purpose,
            round_number,
            attempt,
            population=self.population,
            size=size,
            taken=np.concatenate(parts),
        )
        return self._dealt(positions)

    def _dealt(self, positions: NDArray[np.int64]) -> Iterator[tuple[NodeInfo, list[int]]]:
        """Positions over the whole population, by the node that has them."""
        start = 0
        for node in self.nodes:
            end = start + node.trainable
            members = positions[(positions >= start) & (positions < end)] - start
            if len(members):
                yield node, members.tolist()
            start = end


def gather_federation(
    grid: AsksNodes, *, nodes: int, timeout_s: float, reply_timeout_s: float, enough: int = 0
) -> Federation:
    """Wait for `nodes` nodes, ask each what it has, and check that they fit together.

    enough: how many suffice when the time is up, 0 = all. Raises FedrecError when fewer register in
    time or answer, or two differ in catalogue.
    """
    enough = enough or nodes
    node_ids = _wait_for_nodes(grid, nodes, timeout_s, enough)
    found, troubles = ask_nodes(grid, node_ids, reply_timeout_s)
    if troubles and (enough == nodes or len(found) < enough):
        reason = next(iter(troubles.values()))
        raise FedrecError(f"{len(troubles)} of {len(node_ids)} nodes are not ready: {reason}")
    for node, trouble in troubles.items():
        LOG.warning("goes on without node %d: %s", node, trouble)
    infos = sorted(found, key=_place)
    _check_alike(infos)
    federation = Federation(tuple(infos))
    if federation.population == 0:
        raise FedrecError(f"none of the {len(infos)} nodes has a user with enough history to train")
    return federation


def ask_nodes(
    grid: AsksNodes, node_ids: Sequence[int], timeout_s: float
) -> tuple[list[NodeInfo], dict[int, str]]:
    """What nodes say of themselves, and, of those that cannot take part, why."""
    asked = [
        Message(
            content=RecordDict({wire.CONFIG: ConfigRecord({})}),
            dst_node_id=node_id,
            message_type=MessageType.QUERY,
        )
        for node_id in node_ids
    ]
    troubles = {node: f"no answer in {timeout_s:g} s" for node in node_ids}
    infos = []
    for reply in grid.send_and_receive(asked, timeout=timeout_s):
        node = reply.metadata.src_node_id
        try:
            infos.append(_info(reply))
            troubles.pop(node, None)
        except Refused as reason:
            troubles[node] = str(reason)
    return infos, troubles


def _place(info: NodeInfo) -> tuple[int, int]:
    return info.partition, info.node_id


def _wait_for_nodes(grid: AsksNodes, nodes: int, timeout_s: float, enough: int) -> list[int]:
    deadline = time.monotonic() + timeout_s
    while len(present := sorted(grid.get_node_ids())) < nodes:
        if time.monotonic() > deadline:
            state = f"{len(present)} of {nodes} nodes registered within {timeout_s:g} s"
            if len(present) < enough:
                raise FedrecError(state)
            LOG.warning("%s: goes on with these", state)
            break
        time.sleep(_POLL_S)
    return present


def _info(reply: Message) -> NodeInfo:
    record = read_description(reply)
    return NodeInfo(
        node_id=reply.metadata.src_node_id,
        partition=cast(int, record[wire.PARTITION]),
        trainable=cast(int, record[wire.TRAINABLE]),
        num_items=cast(int, record[wire.ITEMS]),
        catalogue=cast(str, record[wire.CATALOGUE]),
        feature_dims=_under(wire.FEATURE_DIM, record, int),
        cold_targets=bool(record[wire.COLD_TARGETS]),
        new_items=cast(str, record[wire.NEW_ITEMS]),
        users=cast(int, record[wire.HELD_USERS]),
        own_data=bool(record.get(wire.OWN_DATA, False)),
        libraries=_under(wire.LIBRARY, record, str),
        settings=str(record.get(wire.SETTINGS, "")),
    )


def _under(prefix: str, record: ConfigRecord, kind: type[T]) -> tuple[tuple[str, T], ...]:
    """What stands under keys with a prefix, by the rest of the key, sorted."""
    keys = sorted(key for key in record if key.startswith(prefix))
    return tuple((key.removeprefix(prefix), kind(cast(T, record[key]))) for key in keys)


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
