"""Every setting, its default and what it may be. The single source of defaults."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from fedrec.config.checks import at_least, between, one_of, positive, within
from fedrec.errors import ConfigError

PERSONAL_PARTS = {"embedding": "backbone", "gate": "alignment", "router": "routing"}
"""Part -> the first stage in which what it changes is active."""
STAGE_ORDER = ("backbone", "alignment", "routing")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*").fullmatch


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """Where a run reads and writes, and what makes it reproducible.

    data: a prepared data folder. out: the run's folder. threads: torch threads of each worker
    process, 0 = the machine's cores divided by the workers. resume: go on where the run in `out`
    stopped.
    """

    data: str = "data/ml-latest-small"
    out: str = "runs/default"
    seed: int = 0
    device: str = "cpu"
    threads: int = 0
    resume: bool = False
    baselines: bool = True

    def __post_init__(self) -> None:
        at_least(self, "seed", 0)
        at_least(self, "threads", 0)


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
    projected to this width, from a random start; 0 = they keep theirs.
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
    gate_init: float = 0.6
    gate: str = "learned"
    attention: str = "candidate"
    adapter_init: str = "identity"
    squeeze: int = 0

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
        positive(self, "adapter", "router_rank", "gate_init")
        at_least(self, "squeeze", 0)
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


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """What a user's training in one round is.

    objective: `sampled_softmax`, `bce`, `gbce` or `in_batch`. local_steps: gradient steps of size
    `local_learning_rate`; clip_norm: l2 bound of a user's update, 0 = none. proximal: mu of FedProx
    (Li et al. 2020): from the second step on, every step also goes the share mu times
    `local_learning_rate` of the way back to the round's start, all of it at most; 0 = none.
    gbce_calibration: `t` of gSASRec (Petrov & Macdonald 2023, equation 9).
    random_cuts: cut long histories into windows at places drawn anew in every local step, so
    that no interaction is always the first of its window; false = always counted from the newest.
    memory_mib: bound of the per-user copies when users take several steps.
    """

    objective: str = "sampled_softmax"
    local_steps: int = 1
    local_learning_rate: float = 1.0
    clip_norm: float = 0.0
    proximal: float = 0.0
    gbce_calibration: float = 0.75
    random_cuts: bool = True
    memory_mib: int = 512

    def __post_init__(self) -> None:
        one_of(self, "objective", ("sampled_softmax", "bce", "gbce", "in_batch"))
        positive(self, "local_steps", "local_learning_rate", "memory_mib")
        at_least(self, "clip_norm", 0)
        at_least(self, "proximal", 0)
        within(self, "gbce_calibration", 0, 1)
        if self.proximal and self.local_steps == 1:
            raise ConfigError(
                f"proximal = {self.proximal!r}: must be 0 where training.local_steps = 1: the "
                "first step begins where it would pull to"
            )
        if self.proximal * self.local_learning_rate > 1:
            raise ConfigError(
                f"proximal = {self.proximal!r}: must be at most 1 / training.local_learning_rate "
                f"= {1 / self.local_learning_rate:g}: beyond that a step overshoots the round's "
                "start"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class PersonalConfig:
    """What a user may keep on the node: trained there, used there, never sent.

    parts: names separated by commas: `embedding`, a vector added to the user's hidden state;
    `gate`, a factor of the gate before the experts; `router`, a bias on every expert's logit.
    None of them unless named. from_stage: the first stage in which they train and take part, each
    where what it changes is active. learning_rate: length of a user's first step.
    """

    parts: str = ""
    from_stage: str = "routing"
    learning_rate: float = 0.1

    @property
    def names(self) -> tuple[str, ...]:
        """The parts that are wanted."""
        return tuple(name.strip() for name in self.parts.split(",")) if self.parts else ()

    def __post_init__(self) -> None:
        if len(set(self.names)) < len(self.names) or not set(self.names) <= set(PERSONAL_PARTS):
            raise ConfigError(
                f"parts = {self.parts!r}: must be names separated by commas, each once, "
                f"of {', '.join(PERSONAL_PARTS)}"
            )
        one_of(self, "from_stage", STAGE_ORDER)
        positive(self, "learning_rate")


@dataclass(frozen=True, kw_only=True, slots=True)
class StageConfig:
    """How long and how fast a stage trains.

    rounds: at most; patience: evaluations without a better validation NDCG@10 before it stops, 0 =
    never. learning_rate: of the server optimiser; warmup_rounds: over which it grows linearly;
    final_rate: the share of it that a cosine decay ends at. backbone_rate: multiple of it for the
    backbone group. dropout: of the trunk, whether it trains or not: of the histories that it has
    learnt from it is surer than of others, and experts that train beside it get less weight than
    they deserve. contrastive_weight, contrastive_temperature, surprise: of the alignment loss,
    whose instances count 1 + surprise * (how unexpected the item is to the trunk).
    balance_weight: of the load-balancing loss. windows: of a user's history, trained on in a
    round at most, positions: predicted in a window, both drawn at random, 0 = all of them, or all
    that `federation.draw` gives the user. negatives: items drawn per user and step, uniformly among
    those absent from the user's training history.
    """

    rounds: int = 100
    patience: int = 0
    learning_rate: float = 1e-3
    warmup_rounds: int = 10
    final_rate: float = 1.0
    backbone_rate: float = 1.0
    dropout: float = 0.3
    windows: int = 0
    positions: int = 0
    negatives: int = 200
    contrastive_weight: float = 0.0
    contrastive_temperature: float = 0.1
    surprise: float = 0.5
    balance_weight: float = 0.0

    def __post_init__(self) -> None:
        at_least(self, "rounds", 0)
        at_least(self, "patience", 0)
        at_least(self, "windows", 0)
        at_least(self, "positions", 0)
        positive(self, "negatives")
        at_least(self, "warmup_rounds", 0)
        positive(self, "learning_rate", "contrastive_temperature")
        for key in ("final_rate", "backbone_rate", "contrastive_weight", "surprise"):
            at_least(self, key, 0)
        at_least(self, "balance_weight", 0)
        between(self, "dropout", 0, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class StagesConfig:
    """The three stages, in their order.

    force: let routing start from the backbone's checkpoint where alignment has no rounds. Refused
    otherwise: it turns good features into noise.
    """

    force: bool = False
    backbone: StageConfig = field(
        default_factory=lambda: StageConfig(
            rounds=2000,
            learning_rate=6e-3,
            warmup_rounds=200,
            final_rate=0.05,
        )
    )
    alignment: StageConfig = field(
        default_factory=lambda: StageConfig(
            rounds=40,
            learning_rate=1e-2,
            final_rate=0.1,
            dropout=0.5,
            positions=16,
            negatives=100,
            contrastive_weight=0.1,
        )
    )
    routing: StageConfig = field(
        default_factory=lambda: StageConfig(
            rounds=40,
            learning_rate=1e-3,
            final_rate=0.1,
            backbone_rate=0.01,
            dropout=0.8,
            positions=16,
            negatives=100,
            contrastive_weight=0.1,
            balance_weight=0.01,
        )
    )

    def __post_init__(self) -> None:
        later = "alignment" if self.alignment.rounds else "routing"
        rounds = getattr(self, later).rounds
        if rounds and not self.backbone.rounds:
            raise ConfigError(
                f"backbone.rounds = 0: must be above 0 where stages.{later}.rounds = {rounds}: "
                "the experts join a trunk that must be trained first"
            )
        if rounds and not self.alignment.rounds and not self.force:
            raise ConfigError(
                f"alignment.rounds = 0: must be above 0 where stages.routing.rounds = {rounds}: "
                "experts that were never aligned turn good features into noise; set "
                "stages.routing.rounds=0 to train the backbone alone, or stages.force=true to see "
                "the damage"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """Who is asked how well the model ranks, and how often.

    every: rounds between two federated validations. seed: of the sampled negatives, and of the
    samples of users. users: at most so many users of a data folder are asked in a validation,
    0 = all; test_users: in the test at a stage's end. The sample is the same in every round.
    best_from: the best round is looked for after this share of a stage's rounds, 0 = among all, 1 =
    the last alone. The best of many noisy validations is a lucky one of a time when the rate was
    high, and worse for users who did not choose it (docs/decisions.md).
    min_share: smallest share of the users, those of the nodes that answered both times, over whom
    a round is compared with the best one; a validation that fewer answered changes nothing.
    new_item_loudness: how loud the predicted embeddings of items that nobody trained are, 1 = as
    loud as trained ones; more shows new items to more people, at the price of the others.
    """

    every: int = 20
    seed: int = 0
    users: int = 0
    test_users: int = 0
    best_from: float = 0.9
    min_share: float = 0.25
    new_item_loudness: float = 1.1

    def users_of(self, split: str) -> int:
        """How many users are asked in `split`, 0 = all."""
        return self.test_users if split == "test" else self.users

    def __post_init__(self) -> None:
        at_least(self, "every", 1)
        positive(self, "new_item_loudness")
        within(self, "best_from", 0, 1)
        within(self, "min_share", 0, 1)
        for key in ("seed", "users", "test_users"):
            at_least(self, key, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """All of it, by section."""

    run: RunConfig = field(default_factory=RunConfig)
    federation: FederationConfig = field(default_factory=FederationConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    personal: PersonalConfig = field(default_factory=PersonalConfig)
    stages: StagesConfig = field(default_factory=StagesConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        remembered = self.memory.short_term + self.memory.long_term
        if self.stages.alignment.rounds and not remembered:
            raise ConfigError(
                "memory.short_term = 0: must be above 0 where memory.long_term = 0 and "
                f"stages.alignment.rounds = {self.stages.alignment.rounds}: experts without a "
                "memory know nothing, and alignment has nothing to train"
            )
        for name in STAGE_ORDER:
            self._check_patience(name, getattr(self.stages, name).patience)
        for part in self.personal.names:
            self._check_it_trains(part)

    def _check_patience(self, stage: str, patience: int) -> None:
        if patience and self.evaluation.best_from:
            raise ConfigError(
                f"stages.{stage}.patience = {patience}: must be 0 where evaluation.best_from = "
                f"{self.evaluation.best_from:g}: of a stage that may end early nobody knows which "
                "rounds are its last; set evaluation.best_from=0"
            )

    def _check_it_trains(self, part: str) -> None:
        first = max(map(STAGE_ORDER.index, (PERSONAL_PARTS[part], self.personal.from_stage)))
        if not any(getattr(self.stages, name).rounds for name in STAGE_ORDER[first:]):
            raise ConfigError(
                f"personal.parts = {self.personal.parts!r}: must be without {part!r} where no "
                f"stage from {STAGE_ORDER[first]} on has rounds: it would never train"
            )
