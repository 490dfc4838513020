"""The settings of who trains in a round, of what travels, and of how the server steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedrec.config.checks import at_least, between, one_of, positive, within
from fedrec.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class FederationConfig:
    """Who trains in a round, and how the server steps.

    nodes: Flower nodes that must have registered before the first round.
    draw: what a cohort is drawn of, `users`, or `windows` of at most model.max_len of their
    training interactions: who has done more then trains more often, as when everybody's windows
    are in one place. users_per_round: size of the cohort, in these; drawn from (seed, round) over
    all nodes; 0 = all. weighting: what a user's update counts: `examples`, those of the windows
    drawn or of the whole history, `sqrt` of them, or `uniform`; max_weight: its bound. beta_1,
    beta_2, tau: of the server optimiser (Reddi et al. 2021).
    item_averaging: what the summed updates of a row of the item table are divided by: `cohort`, all
    that the round's users weigh, or `row`, what those weigh who met the item, but at least the
    share `row_share` of all. `row` tells the server how much weight met which item.
    max_update_norm: a node's mean update beyond this l2 norm is refused. strikes: a node is left
    out of the run once so many of its answers were refused, 0 = never. aggregation: what nodes say
    together, their weighted `mean`, or, where some may lie, each node being a point: `median`,
    `trimmed_mean`, without the share `trimmed_share` at each end, or `krum`, the node nearest to
    the others where `malicious_nodes` may lie. min_replies: smallest share of the nodes with users
    in the cohort whose accepted replies make a round; as long as fewer are connected, a round
    waits. failed_rounds: so many in a row end the run.
    round_timeout_s, evaluation_timeout_s: how long answers to a training message, to a validation
    and to the test may take; who is later is left out. absence_timeout_s: how long a round waits
    for nodes to come back before the run ends. registration_timeout_s: how long the run's start
    does.
    transport: how numbers travel, both ways: `float32`, `float16` or `int8`, the last two with
    error feedback. sparse_rows: of the item table only rows travel, up those that a node's cohort
    touched, down those that changed; the optimiser steps these alone. Tells the server, and
    the other nodes, which items a cohort met: see docs/protocol.md; for large catalogues.
    """

    nodes: int = 2
    draw: str = "windows"
    users_per_round: int = 64
    optimizer: str = "fedadam"
    beta_1: float = 0.9
    beta_2: float = 0.999
    tau: float = 1e-8
    weighting: str = "examples"
    max_weight: float = 200.0
    item_averaging: str = "cohort"
    row_share: float = 0.1
    max_update_norm: float = 1e3
    strikes: int = 3
    aggregation: str = "mean"
    trimmed_share: float = 0.2
    malicious_nodes: int = 1
    min_replies: float = 0.5
    transport: str = "float32"
    sparse_rows: bool = False
    registration_timeout_s: float = 120.0
    round_timeout_s: float = 600.0
    evaluation_timeout_s: float = 600.0
    absence_timeout_s: float = 600.0
    failed_rounds: int = 3

    def __post_init__(self) -> None:
        positive(self, "nodes", "max_weight", "max_update_norm", "tau", "row_share")
        positive(self, "registration_timeout_s", "round_timeout_s", "evaluation_timeout_s")
        positive(self, "absence_timeout_s", "failed_rounds")
        at_least(self, "users_per_round", 0)
        one_of(self, "optimizer", ("fedadam", "fedyogi", "fedadagrad", "fedavg", "fedavgm"))
        one_of(self, "draw", ("users", "windows"))
        one_of(self, "weighting", ("examples", "sqrt", "uniform"))
        one_of(self, "item_averaging", ("cohort", "row"))
        one_of(self, "transport", ("float32", "float16", "int8"))
        between(self, "beta_1", 0, 1)
        between(self, "beta_2", 0, 1)
        within(self, "min_replies", 0, 1)
        within(self, "row_share", 0, 1)
        self._check_aggregation()

    @property
    def fewest_nodes(self) -> int:
        """So many nodes suffice for a run to go on that had begun with all: enough for a round."""
        return max(1, math.ceil(self.min_replies * self.nodes))

    @property
    def fewest_updates(self) -> int:
        """Of so many nodes at least the aggregation needs an update: so many that one that lies is
        outvoted, that one is cut at each end, or as Blanchard et al. 2017 demand."""
        if self.aggregation == "trimmed_mean":
            return max(3, math.ceil(1 / self.trimmed_share))
        return {"mean": 1, "median": 3, "krum": 2 * self.malicious_nodes + 3}[self.aggregation]

    def _check_aggregation(self) -> None:
        at_least(self, "strikes", 0)
        at_least(self, "malicious_nodes", 1)
        one_of(self, "aggregation", ("mean", "median", "trimmed_mean", "krum"))
        positive(self, "trimmed_share")
        between(self, "trimmed_share", 0, 0.5)
        if self.aggregation == "mean":
            return
        if self.item_averaging == "row" or self.sparse_rows:
            key = "sparse_rows" if self.sparse_rows else "item_averaging"
            raise ConfigError(
                f"aggregation = {self.aggregation!r}: must be 'mean' where federation.{key} = "
                f"{getattr(self, key)!r}: which nodes met a row differs from row to row"
            )
        if self.nodes < self.fewest_updates:
            raise ConfigError(
                f"aggregation = {self.aggregation!r}: must be 'mean' where federation.nodes = "
                f"{self.nodes}: it takes updates of at least {self.fewest_updates} nodes"
            )
