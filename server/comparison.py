"""Whether a round's model is better than the best one so far, as far as nodes can tell.

Users differ in how hard they are to please, so the mean over those who answered moves with who they
are: a round would win because the nodes of the unlucky users were away. So two rounds are compared
over the nodes that answered both times, and only where these have enough users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedrec.evaluation.metrics import add_sums, metrics_from_sums
from server.federation import Federation
from server.progress import Metrics

VALUE = "ndcg@10"
"""What decides, of the full ranking."""

NodeSums = Mapping[str, Sequence[float]]
"""What a node is known by (`Federation.names`) -> its sum of NDCG@10, and its users."""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """metrics: means over all users that answered. by_node: of those that did, in their order."""

    metrics: Metrics
    by_node: dict[str, list[float]]

    @classmethod
    def of(
        cls, parts: Mapping[int, Mapping[str, float]], federation: Federation
    ) -> Validation | None:
        """Of answers by node id (`fedrec.evaluation.metrics.rank_sums`); None where they are of no
        user."""
        names = federation.names()
        parts = {node: parts[node] for node in names if node in parts}
        total = add_sums(parts.values())
        if not total.get("validation/full/users"):
            return None
        by_node = {
            names[node]: [part[f"validation/full/{VALUE}/sum"], part["validation/full/users"]]
            for node, part in parts.items()
        }
        return cls(metrics=metrics_from_sums(total, "validation"), by_node=by_node)


def is_better(
    now: NodeSums, best: NodeSums, federation: Federation, min_share: float
) -> bool | None:
    """Whether the mean is higher than the best round's over the nodes that are in both.

    best: empty where there is none yet. None where these nodes have less than `min_share` of the
    federation's users: then nobody knows.
    """
    both = [name for name in now if name in best] if best else list(now)
    if not both or share_of(both, federation) < min_share:
        return None
    return not best or mean_over(now, both) > mean_over(best, both)


def share_of(names: Sequence[str], federation: Federation) -> float:
    """The share of the federation's users whose nodes these are.

    Of a node that did not say how many it has, what can be drawn there counts in their place.
    """
    known, named = set(names), federation.names()
    users = {
        named[n.node_id]: n.trainable if n.users is None else n.users for n in federation.nodes
    }
    return sum(users[name] for name in known & users.keys()) / max(sum(users.values()), 1)


def mean_over(sums: NodeSums, names: Sequence[str]) -> float:
    """NDCG@10 over the users of the nodes that these are, 0 where they have none."""
    users = sum(sums[name][1] for name in names)
    return sum(sums[name][0] for name in names) / users if users else 0.0
