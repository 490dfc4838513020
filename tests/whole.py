"""The small shop's federation in one piece: a node of all users, and the untrained model."""

from __future__ import annotations

from fedrec.config import Config
from fedrec.data import PreparedData
from fedrec.model.build import build_model
from fedrec.model.feddmmr import FedDMMR
from fedrec.training.node import Node, load_modalities


def whole_node(config: Config) -> Node:
    """All users of the data of `config`."""
    data = PreparedData.load(config.run.data)
    return Node(data, range(data.num_users), config, load_modalities(data, config))


def untrained_model(config: Config) -> FedDMMR:
    """As every node builds it."""
    return build_model(
        config.model,
        num_items=24,
        feature_dims={"visual": 6, "semantic": 5},
        seed=config.run.seed,
    )
