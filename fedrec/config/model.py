"""The settings of the model and of the memory that it reads."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fedrec.config.checks import at_least, between, one_of, positive
from fedrec.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*").fullmatch


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The shape of the model.

    dim, layers, heads, inner, max_len: of the SASRec backbone. visual, semantic: names of
    the feature files the two experts read. further: names of more feature files, separated by
    commas; each gets an expert of its name. collaborative: also read the item embeddings of the
    memory. router: `flat` (one expert a modality) or `hierarchical` (`time_scales` experts a
    modality). adapter: hidden width of the residual adapters over frozen features.
    gate_init: start of the gate before the experts. gate: `learned`, `frozen` at its start, or
    `none`, a constant 1. attention: what attends over the memory, the `candidate` or, for
    `history`, the newest item there that has the modality. adapter_init: `identity`, or `random`:
    a projection without the residual path, from a random start. squeeze: features are first
    projected to this width, from a random start; 0 = they keep theirs. transitions: columns of an
    item's row for what it follows, and as many for where it leads; 0 = none.
    transition_gate_init: start of the gate before them, which always learns.
    """

    dim: int = 64
    layers: int = 2
    heads: int = 2
    inner: int = 256
    max_len: int = 50
    visual: str = "image"
    semantic: str = "text"
    further: str = ""
    collaborative: bool = True
    router: str = "hierarchical"
    time_scales: int = 3
    adapter: int = 64
    router_rank: int = 8
    gate_init: float = 1.0
    gate: str = "learned"
    attention: str = "candidate"
    adapter_init: str = "identity"
    squeeze: int = 0
    transitions: int = 32
    transition_gate_init: float = 1.0

    @property
    def modalities(self) -> dict[str, str]:
        """Expert -> name of the feature file it reads; an expert without a name is not wanted."""
        named = {"visual": self.visual, "semantic": self.semantic}
        named |= {name: name for name in self._further}
        return {expert: feature for expert, feature in named.items() if feature}

    @property
    def _further(self) -> list[str]:
        return [name.strip() for name in self.further.split(",")] if self.further else []

    def __post_init__(self) -> None:
        positive(self, "dim", "layers", "heads", "inner", "max_len", "time_scales")
        positive(self, "adapter", "router_rank", "gate_init", "transition_gate_init")
        at_least(self, "squeeze", 0)
        at_least(self, "transitions", 0)
        one_of(self, "router", ("flat", "hierarchical"))
        one_of(self, "gate", ("learned", "frozen", "none"))
        one_of(self, "attention", ("candidate", "history"))
        one_of(self, "adapter_init", ("identity", "random"))
        experts = ["visual", "semantic", "collaborative", *self._further]
        if len(set(experts)) < len(experts) or not all(map(_NAME, experts)):
            raise ConfigError(
                f"further = {self.further!r}: must be names of feature files separated by commas, "
                f"of letters, digits, - and _, each once and none of {', '.join(experts[:3])}"
            )
        if self.dim % self.heads:
            raise ConfigError(f"dim = {self.dim}: must be a multiple of heads = {self.heads}")


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryConfig:
    """What a node keeps of a user's past: `short_term` most recent items, first in, first out, and
    up to `long_term` older ones, admitted when their novelty (1 - the highest cosine similarity to
    what is there) reaches `novelty`, evicted by least utility. Both 0: no memory; the experts know
    nothing, so alignment has nothing to train.
    """

    short_term: int = 20
    long_term: int = 30
    novelty: float = 0.2

    def __post_init__(self) -> None:
        at_least(self, "short_term", 0)
        at_least(self, "long_term", 0)
        between(self, "novelty", 0, 2)
