"""What a process keeps between messages: data, features, nodes, and one model to overwrite."""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import numpy as np
import torch
from flwr.app import Context
from numpy.typing import NDArray

from fedrec.config import Config, from_flat, to_flat
from fedrec.config.loading import Scalar
from fedrec.data import PreparedData, cut_users, take_partition
from fedrec.model.build import build_model
from fedrec.model.feddmmr import FedDMMR, Modality
from fedrec.training.node import Node, load_modalities
from fedrec.training.residencies import Residencies

Settings = tuple[tuple[str, Scalar], ...]


def load_node(context: Context) -> Node:
    """The node that a context describes.

    Its data folder is `data` of the node-config, else the run's; its users are partition
    `partition-id` of `num-partitions` equal shares of the training interactions, else all users of
    the folder.
    """
    folder, settings = _described(context)
    index = int(cast(int, context.node_config.get("partition-id", 0)))
    count = int(cast(int, context.node_config.get("num-partitions", 1)))
    return _node(folder, index, count, settings)


def partition_of(node: Node, context: Context) -> int:
    """The place of a node among all nodes: `partition-id` of the node-config, else what its data
    folder says, else 0."""
    cut = 0 if node.data.part is None else node.data.part.index
    return int(cast(int, context.node_config.get("partition-id", cut)))


def load_model(context: Context) -> FedDMMR:
    """The process's model for a context's settings; every message overwrites its weights."""
    return _model(*_described(context))


def build_untrained(context: Context) -> FedDMMR:
    """A model of its own, as a context's settings and the run's seed make it."""
    return _build(*_described(context))


def _described(context: Context) -> tuple[str, Settings]:
    settings = _settings(tuple(context.run_config.items()))
    folder = str(context.node_config.get("data", settings["run.data"]))
    device = str(context.node_config.get("device", settings["run.device"]))
    return folder, tuple({**settings, "run.device": device}.items())


@lru_cache(maxsize=4)
def _settings(given: Settings) -> dict[str, Scalar]:
    """All settings, checked: the given ones and the defaults of the others."""
    return to_flat(from_flat(dict(given)))


@lru_cache(maxsize=4096)
def _node(folder: str, index: int, count: int, settings: Settings) -> Node:
    data, config = _data(folder), _config(settings)
    users = take_partition(_cuts(folder, count), index)
    held = _modalities(folder, settings), _residencies(folder, settings)
    return Node(data, users, config, *held)


@lru_cache(maxsize=4)
def _cuts(folder: str, count: int) -> NDArray[np.int64]:
    """Once a process: with as many nodes as users, looking at all users for each would not end."""
    return cut_users(_data(folder).train_end, count)


@lru_cache(maxsize=4)
def _residencies(folder: str, settings: Settings) -> Residencies:
    """Shared by all nodes of the process, so that they have one bound together."""
    return Residencies()


@lru_cache(maxsize=4)
def _model(folder: str, settings: Settings) -> FedDMMR:
    config = _config(settings)
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    return _build(folder, settings).to(config.run.device)


def _build(folder: str, settings: Settings) -> FedDMMR:
    config = _config(settings)
    widths = {
        name: int(held.values.shape[1]) for name, held in _modalities(folder, settings).items()
    }
    return build_model(
        config.model,
        num_items=_data(folder).warm_items,
        feature_dims=widths,
        seed=config.run.seed,
    )


@lru_cache(maxsize=4)
def _modalities(folder: str, settings: Settings) -> dict[str, Modality]:
    return load_modalities(_data(folder), _config(settings))


@lru_cache(maxsize=4)
def _data(folder: str) -> PreparedData:
    return PreparedData.load(folder)


@lru_cache(maxsize=4)
def _config(settings: Settings) -> Config:
    return from_flat(dict(settings))


def forget() -> None:
    """Let go of everything: another run has other settings, and may find other data."""
    for kept in (_settings, _node, _cuts, _residencies, _model, _modalities, _data, _config):
        kept.cache_clear()
