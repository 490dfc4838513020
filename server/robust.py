"""What nodes say together where some may lie: Flower's robust rules in the place of the mean.

Every node is one point, the mean update of its users, and counts alike: a weight is what the node
says of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from flwr.serverapp.strategy import FedAvg, FedMedian, FedTrimmedAvg, Krum

from fedrec.config import FederationConfig
from fedrec.errors import FedrecError
from fedrec.wire import WEIGHT
from server.averaging import Mean, weighted_mean
from server.refusal import Update
from server.transport import as_reply, from_record

RULES: dict[str, Callable[[FederationConfig], FedAvg]] = {
    "median": lambda config: FedMedian(weighted_by_key=WEIGHT),
    "trimmed_mean": lambda config: FedTrimmedAvg(weighted_by_key=WEIGHT, beta=config.trimmed_share),
    "krum": lambda config: Krum(weighted_by_key=WEIGHT, num_malicious_nodes=config.malicious_nodes),
}
"""`federation.aggregation` -> the strategy whose aggregation it is. Median and trimmed mean: Yin et
al. 2018; Krum: Blanchard et al. 2017."""


def together(updates: Sequence[Update], config: FederationConfig) -> Mean:
    """What the nodes' updates come to, by the configured rule; in float64.

    updates: in the order of the nodes, at least `config.fewest_updates`.
    """
    if config.aggregation == "mean":
        return weighted_mean(updates, row_share=config.row_share)
    points = [
        as_reply({name: total / update.weight for name, total in update.sums.items()})
        for update in updates
    ]
    found, _ = RULES[config.aggregation](config).aggregate_train(0, points)
    if found is None:
        raise FedrecError(f"{config.aggregation} of {len(updates)} updates returned nothing")
    return Mean({name: np.asarray(v, np.float64) for name, v in from_record(found).items()}, None)
