"""FedDMMR: one model, one scoring function, for every stage, for training and for evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedrec.model.experts import ModalityExpert, Pairs
from fedrec.model.fusion import CrossModalFusion
from fedrec.model.memory import Memory
from fedrec.model.router import FlatRouter, HierarchicalRouter, biased_weights, uniform_weights
from fedrec.model.sasrec import SASRec
from fedrec.model.transitions import led_to

COLLABORATIVE = "collaborative"


@dataclass(frozen=True)
class Modality:
    """Features of every item: frozen, as a node holds them, or adapted by an expert.

    values: float [catalogue, feature], unit rows. present: bool [catalogue]. pairs: of adapted
    features that are kept for many scores of the catalogue, what its items say of each other.
    """

    values: Tensor
    present: Tensor
    pairs: Pairs | None = None


@dataclass(frozen=True)
class Active:
    """Which parts take part in the scores. A part that does not is as if it did not exist."""

    experts: bool
    router: bool


@dataclass(frozen=True)
class Scored:
    """scores: [batch, seq, items]. own: [batch, seq], of each position's own candidate, or None.
    router_weights: [batch, seq, items, experts], or None; own candidates stand before the
    others, unless these are the whole catalogue.
    """

    scores: Tensor
    own: Tensor | None
    router_weights: Tensor | None


Personal = Mapping[str, Tensor]
"""What users add to the shared model, a row for every history of a batch.

`embedding`: [batch, dim], added to the hidden states. `gate`: [batch, 1], the logarithm of a factor
of the gate. `router`: [batch, experts], added to the experts' logits. What is missing counts as
zero, and zeros change nothing.
"""
NOTHING_PERSONAL: Personal = MappingProxyType({})


class FedDMMR(nn.Module):
    """SASRec as the trunk; experts that read the user's memory join through a learnable gate.

    fused state = trunk state + gate * fused memory; score = fused state . candidate's embedding
    + gate * routed relevance of the experts + transition gate * how the history leads there.

    A row of the item table is an item's embedding and, with transitions, what it follows and where
    it leads: [items + 1, dim + 2 * transitions].

    Every parameter belongs to the group named by its module: `item_embedding`, `backbone`,
    `<name>_expert`, `fusion`, `router`, `gate`, `transition_gate`. A gate that does not learn is no
    parameter, and the fusion of one expert has none: there is no such group then to train, to send
    or to keep.
    """

    gate: Tensor

    def __init__(
        self,
        *,
        num_items: int,
        dim: int,
        backbone: SASRec,
        experts: Mapping[str, ModalityExpert],
        router: FlatRouter | HierarchicalRouter,
        gate_init: float,
        gate_learns: bool = True,
    ) -> None:
        super().__init__()
        self.num_items, self.dim, self.transitions = num_items, dim, 0
        self.item_embedding = nn.Embedding(num_items + 1, dim, padding_idx=0)
        self.backbone = backbone
        self.expert_names = tuple(experts)
        for name, expert in experts.items():
            self.add_module(f"{name}_expert", expert)
        self.fusion = CrossModalFusion(dim=dim, modalities=len(experts))
        self.router = router
        gate = torch.tensor([gate_init])
        if gate_learns:
            self.gate = nn.Parameter(gate)
        else:
            self.register_buffer("gate", gate, persistent=False)

    def add_transitions(self, columns: Tensor, *, gate_init: float) -> None:
        """Widen the item table by what items follow and where they lead.

        columns: [items + 1, 2 * transitions].
        """
        table = self.item_embedding
        self.transitions = columns.shape[-1] // 2
        table.weight = nn.Parameter(torch.cat([table.weight.detach(), columns], dim=-1))
        table.embedding_dim = table.weight.shape[-1]
        self.transition_gate = nn.Parameter(torch.tensor([gate_init]))

    def encode(
        self,
        item_ids: Tensor,
        keys: Tensor | None = None,
        at: Tensor | None = None,
        *,
        dropout: float = 0.0,
    ) -> Tensor:
        """item_ids: [batch, seq], 0 = padding, on the left. keys: int32 [batch] for dropout at that
        rate, None in evaluation. at: [batch, positions], those wanted, None = all.

        Returns hidden [batch, positions, dim + transitions]: the trunk's state, and where the
        history leads.
        """
        rows, padding = self.item_embedding(item_ids), item_ids == 0
        state: Tensor = self.backbone(rows[..., : self.dim], padding, keys, at, dropout=dropout)
        if not self.transitions:
            return state
        leads = rows[..., self.dim + self.transitions :]
        return torch.cat([state, led_to(leads, keys, at, dropout=dropout)], dim=-1)

    def embedded(self, item_ids: Tensor) -> Tensor:
        """item_ids: [...] -> their embeddings, without transitions, [..., dim]."""
        rows: Tensor = self.item_embedding(item_ids)
        return rows[..., : self.dim]

    def adapt(
        self, modalities: Mapping[str, Modality], *, keep_pairs: bool = False
    ) -> dict[str, Modality]:
        """Expert name -> the features it reads, adapted; once for all the scores of a model.

        The collaborative expert reads the id embeddings. keep_pairs: compare two items once for
        all scores of the catalogue, which takes memory (see `Pairs`) and carries no gradient.
        """
        table = self.item_embedding.weight[:, : self.dim]
        everything = torch.arange(len(table), device=table.device) > 0
        held = {COLLABORATIVE: Modality(functional.normalize(table, dim=-1), everything)}
        held |= modalities
        return {
            name: Modality(
                self.expert(name).adapter(held[name].values.to(table.dtype)),
                held[name].present,
                Pairs(len(table), table) if keep_pairs else None,
            )
            for name in self.expert_names
        }

    def expert(self, name: str) -> ModalityExpert:
        """The expert that reads one modality."""
        found: ModalityExpert = getattr(self, f"{name}_expert")
        return found

    def score(
        self,
        hidden: Tensor,
        candidates: Tensor | None,
        *,
        active: Active,
        own: Tensor | None = None,
        memory: Memory | None = None,
        adapted: Mapping[str, Modality] | None = None,
        personal: Personal = NOTHING_PERSONAL,
    ) -> Scored:
        """Score candidates for every position; the only way to a score that ranks.

        hidden: [batch, seq, dim + transitions], of `encode`. candidates: [batch, items], or [items]
        where all histories share them, or None for the whole catalogue. own: [batch, seq], a
        candidate of each position alone. memory, adapted (by `adapt`): needed where experts are
        active. personal: what the users of the batch add to the model; of a part that is not active
        it changes nothing.
        """
        state, led = hidden[..., : self.dim], hidden[..., self.dim :]
        if "embedding" in personal:
            state = state + personal["embedding"].unsqueeze(-2)
        if not active.experts:
            return self._products(state, candidates, own, slice(self.dim))
        if memory is None or adapted is None:
            raise ValueError("active experts need a memory and the items' adapted features")
        if own is None or candidates is None:
            scores, weights = self._fused(state, led, candidates, active, memory, adapted, personal)
            found = None if own is None else scores.gather(-1, own.unsqueeze(-1)).squeeze(-1)
            return Scored(scores, found, weights)
        # Position by position it would cost more than to score each position's for all of them.
        everybody = torch.cat([own, candidates.expand(len(own), -1)], dim=-1)
        scores, weights = self._fused(state, led, everybody, active, memory, adapted, personal)
        seq = own.shape[-1]
        return Scored(scores[..., seq:], scores[..., :seq].diagonal(dim1=-2, dim2=-1), weights)

    def score_transitions(self, hidden: Tensor, candidates: Tensor, *, own: Tensor) -> Scored:
        """What the transitions alone say, from which they learn; arguments as for `score`."""
        follows = slice(self.dim, self.dim + self.transitions)
        return self._products(hidden[..., self.dim :], candidates, own, follows)

    def _rows(self, candidates: Tensor | None) -> Tensor:
        """[..., items, columns]; of the whole catalogue the table itself, not a copy."""
        table = self.item_embedding
        found: Tensor = table.weight if candidates is None else table(candidates)
        return found

    def _products(
        self, state: Tensor, candidates: Tensor | None, own: Tensor | None, columns: slice
    ) -> Scored:
        """Scores that are products of a state with some columns of the candidates' rows."""
        scores = state @ self._rows(candidates)[..., columns].transpose(-1, -2)
        alone = None if own is None else (state * self._rows(own)[..., columns]).sum(-1)
        return Scored(scores, alone, None)

    def _fused(
        self,
        state: Tensor,
        led: Tensor,
        candidates: Tensor | None,
        active: Active,
        memory: Memory,
        adapted: Mapping[str, Modality],
        personal: Personal,
    ) -> tuple[Tensor, Tensor]:
        """Scores [batch, seq, items] of all parts, and the experts' weights."""
        rows = self._rows(candidates)
        embedded = rows[..., : self.dim]
        readings = {
            name: self.expert(name)(
                held.values, held.present, memory, candidates, embedded, held.pairs
            )
            for name, held in adapted.items()
        }
        known = torch.stack([reading.known for reading in readings.values()], dim=-3)
        relevance = torch.cat([reading.relevance for reading in readings.values()], dim=-3)
        if active.router:
            weights = self.router(state, embedded, known)
            if "router" in personal:
                weights = biased_weights(weights, personal["router"])
        else:
            weights = uniform_weights(known, relevance.shape[-3] // known.shape[-3])
        routed = (weights * relevance).sum(-3)
        fused = self.fusion(state, readings)
        gate: Tensor = self.gate
        if "gate" in personal:
            gate = gate * personal["gate"].exp().unsqueeze(-1)  # [batch, 1, 1]
        if self.transitions:  # both products in one
            state = torch.cat([state, self.transition_gate * led], dim=-1)
        beside = state @ rows[..., : state.shape[-1]].transpose(-1, -2)
        return beside + gate * (routed + fused), weights.movedim(-3, -1)


def group_of(parameter: str) -> str:
    """The group of a parameter by its full name, e.g. `backbone.blocks.0...` -> `backbone`."""
    return parameter.split(".", 1)[0]


def groups(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Group name -> the full names of its parameters, in the model's order."""
    members: dict[str, list[str]] = {}
    for name, _ in model.named_parameters():
        members.setdefault(group_of(name), []).append(name)
    return {group: tuple(names) for group, names in members.items()}
