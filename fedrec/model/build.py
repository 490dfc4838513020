"""The one place that knows how a configuration becomes a model."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from fedrec.config import ModelConfig
from fedrec.model.experts import ModalityExpert
from fedrec.model.feddmmr import COLLABORATIVE, FedDMMR
from fedrec.model.router import ROUTERS
from fedrec.model.sasrec import SASRec
from fedrec.model.transitions import DEVIATION


def build_model(
    config: ModelConfig, *, num_items: int, feature_dims: Mapping[str, int], seed: int
) -> FedDMMR:
    """Build a model, its weights a function of the arguments alone.

    feature_dims: expert name (`visual`, `semantic`) -> width of its features, in any order (the
    router knows experts by their place, so that is fixed here); a modality that is not there gets
    no expert.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        experts = _build_experts(config, feature_dims)
        readers = readers_per_modality(config)
        model = FedDMMR(
            num_items=num_items,
            dim=config.dim,
            backbone=SASRec(
                dim=config.dim,
                layers=config.layers,
                heads=config.heads,
                inner=config.inner,
                max_len=config.max_len,
            ),
            experts=experts,
            router=ROUTERS[config.router](
                dim=config.dim,
                modalities=len(experts),
                readers=readers,
                rank=config.router_rank,
            ),
            gate_init=1.0 if config.gate == "none" else config.gate_init,
            gate_learns=config.gate == "learned",
        )
        _initialise(model.item_embedding)
        _initialise(model.backbone)
        if config.transitions:  # drawn last: all else starts as it does without
            columns = torch.randn(num_items + 1, 2 * config.transitions) * DEVIATION
            columns[0] = 0
            model.add_transitions(columns, gate_init=config.transition_gate_init)
    return model


def readers_per_modality(config: ModelConfig) -> int:
    """One reader a modality for the flat router, one a time scale for the hierarchical."""
    return config.time_scales if config.router == "hierarchical" else 1


def _build_experts(
    config: ModelConfig, feature_dims: Mapping[str, int]
) -> dict[str, ModalityExpert]:
    widths = dict(feature_dims)
    if config.collaborative:
        widths[COLLABORATIVE] = config.dim
    return {
        name: ModalityExpert(
            feature=width,
            dim=config.dim,
            readers=readers_per_modality(config),
            adapter=config.adapter,
            query_dim=config.dim if name == "semantic" else None,
            start=config.adapter_init,
            squeeze=0 if name == COLLABORATIVE else config.squeeze,
            by_history=config.attention == "history",
        )
        for name, width in sorted(widths.items())
    }


def _initialise(module: nn.Module) -> None:
    """Normal weights of deviation 0.02 and zero biases, as BERT and its successors start."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=0.02)
        if isinstance(part, nn.Linear):
            nn.init.zeros_(part.bias)
        if isinstance(part, nn.Embedding) and part.padding_idx is not None:
            nn.init.zeros_(part.weight[part.padding_idx].data)
