"""The settings of a user's training, of what a user keeps, and of the stages."""

from __future__ import annotations

from dataclasses import dataclass, field

from fedrec.config.checks import at_least, between, one_of, positive, within
from fedrec.errors import ConfigError

PERSONAL_PARTS = {"embedding": "backbone", "gate": "alignment", "router": "routing"}
"""Part -> the first stage in which what it changes is active."""
STAGE_ORDER = ("backbone", "alignment", "routing")
OBJECTIVES = ("scaled_softmax", "sampled_softmax", "bce", "gbce", "in_batch")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """What a user's training in one round is.

    objective: `scaled_softmax`, against the whole catalogue as the negatives estimate it,
    `sampled_softmax`, against the negatives alone, `bce`, `gbce` or `in_batch`. local_steps:
    gradient steps of size `local_learning_rate`; clip_norm: l2 bound of a user's update, 0 =
    none. proximal: mu of FedProx (Li et al. 2020): from the second step on, every step also goes
    the share mu times `local_learning_rate` of the way back to the round's start, all of it at
    most; 0 = none.
    gbce_calibration: `t` of gSASRec (Petrov & Macdonald 2023, equation 9).
    random_cuts: cut long histories into windows at places drawn anew in every local step, so
    that no interaction is always the first of its window; false = always counted from the newest.
    memory_mib: bound of the per-user copies when users take several steps.
    """

    objective: str = "scaled_softmax"
    local_steps: int = 1
    local_learning_rate: float = 1.0
    clip_norm: float = 0.0
    proximal: float = 0.0
    gbce_calibration: float = 0.75
    random_cuts: bool = True
    memory_mib: int = 512

    def __post_init__(self) -> None:
        one_of(self, "objective", OBJECTIVES)
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
    backbone group. dropout: of the trunk and the transitions, whether they train or not: of the
    histories that they have learnt from they are surer than of others, and experts that train
    beside them get less weight than they deserve. contrastive_weight, contrastive_temperature,
    surprise: of the alignment loss, whose instances count 1 + surprise * (how unexpected the item
    is to the trunk).
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
            dropout=0.8,
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
