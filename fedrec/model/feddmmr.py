"""FedDMMR: one model, one scoring function, for every stage, for training and for evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedrec.model.experts import ModalityExpert, Reading
from fedrec.model.fusion import CrossModalFusion
from fedrec.model.memory import Memory
from fedrec.model.router import FlatRouter, HierarchicalRouter, uniform_weights
from fedrec.model.sasrec import SASRec

COLLABORATIVE = "collaborative"


@dataclass(frozen=True)
class Modality:
    """Frozen features of every item, as a node holds them.

    values: float [catalogue, feature], unit rows. present: bool [catalogue].
    """

    values: Tensor
    present: Tensor


@dataclass(frozen=True)
class Active:
    """Which parts take part in the scores. A part that does not is as if it did not exist."""

    experts: bool
    router: bool


@dataclass(frozen=True)
class Scored:
    """scores: [batch, seq, items]. router_weights: [batch, seq, items, experts], or None."""

    scores: Tensor
    router_weights: Tensor | None


class FedDMMR(nn.Module):
    """SASRec as the trunk; experts that read the user's memory join through a learnable gate.

    fused state = trunk state + gate * fused memory; score = fused state . candidate's embedding
    + gate * routed relevance of the experts.

    Every parameter belongs to the group named by its module: `item_embedding`, `backbone`,
    `<name>_expert`, `fusion`, `router`, `gate`.
    """

    def __init__(
        self,
        *,
        num_items: int,
        dim: int,
        backbone: SASRec,
        experts: Mapping[str, ModalityExpert],
        router: FlatRouter | HierarchicalRouter,
        gate_init: float,
    ) -> None:
        super().__init__()
        self.num_items = num_items
        self.item_embedding = nn.Embedding(num_items + 1, dim, padding_idx=0)
        self.backbone = backbone
        self.expert_names = tuple(experts)
        for name, expert in experts.items():
            self.add_module(f"{name}_expert", expert)
        self.fusion = CrossModalFusion(dim=dim)
        self.router = router
        self.gate = nn.Parameter(torch.tensor([gate_init]))

    def encode(self, item_ids: Tensor, keys: Tensor | None = None) -> Tensor:
        """item_ids: [batch, seq], 0 = padding, on the left. keys: int32 [batch] for dropout, None
        in evaluation. Returns hidden [batch, seq, dim]."""
        hidden: Tensor = self.backbone(self.item_embedding(item_ids), item_ids == 0, keys)
        return hidden

    def score(
        self,
        hidden: Tensor,
        candidates: Tensor,
        *,
        active: Active,
        memory: Memory | None = None,
        modalities: Mapping[str, Modality] | None = None,
    ) -> Scored:
        """Score candidates for every position; the only way to a score in this project.

        hidden: [batch, seq, dim]. candidates: [batch, items], or [items] where all histories share
        them. memory, modalities: needed where experts are active.
        """
        embedded = self.item_embedding(candidates)
        trunk = hidden @ embedded.transpose(-1, -2)
        if not active.experts:
            return Scored(trunk, None)
        if memory is None or modalities is None:
            raise ValueError("active experts need a memory and the items' features")
        readings = self._read(memory, modalities, candidates, embedded)
        known = torch.stack([reading.known for reading in readings.values()], dim=-3)
        relevance = torch.cat([reading.relevance for reading in readings.values()], dim=-3)
        if active.router:
            weights = self.router(hidden, embedded, known)
        else:
            weights = uniform_weights(known, relevance.shape[-3] // known.shape[-3])
        routed = (weights * relevance).sum(-3)
        fused = self.fusion(hidden, readings, embedded)
        return Scored(trunk + self.gate * (routed + fused), weights.movedim(-3, -1))

    def project_items(self, name: str, item_ids: Tensor, modality: Modality) -> Tensor:
        """Items as an expert brings them into the backbone's space: [...] -> [..., dim]."""
        expert: ModalityExpert = getattr(self, f"{name}_expert")
        projected: Tensor = expert.to_backbone(expert.adapter(modality.values[item_ids]))
        return projected

    def _read(
        self,
        memory: Memory,
        modalities: Mapping[str, Modality],
        candidates: Tensor,
        embedded: Tensor,
    ) -> dict[str, Reading]:
        readings = {}
        for name in self.expert_names:
            modality = self._modality(name, modalities)
            expert: ModalityExpert = getattr(self, f"{name}_expert")
            adapted = expert.adapter(modality.values)
            readings[name] = expert(adapted, modality.present, memory, candidates, embedded)
        return readings

    def _modality(self, name: str, modalities: Mapping[str, Modality]) -> Modality:
        """The features that the expert reads; the collaborative expert reads the id embeddings."""
        if name != COLLABORATIVE:
            return modalities[name]
        table = self.item_embedding.weight
        values = nn.functional.normalize(table, dim=-1)
        return Modality(values, torch.arange(len(table), device=table.device) > 0)


def group_of(parameter: str) -> str:
    """The group of a parameter by its full name, e.g. `backbone.blocks.0...` -> `backbone`."""
    return parameter.split(".", 1)[0]


def groups(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Group name -> the full names of its parameters, in the model's order."""
    members: dict[str, list[str]] = {}
    for name, _ in model.named_parameters():
        members.setdefault(group_of(name), []).append(name)
    return {group: tuple(names) for group, names in members.items()}
