"""All settings by section. The defaults that count stand here and in the other sections' files."""

from __future__ import annotations

from dataclasses import dataclass, field

from fedrec.config.checks import at_least, positive, within
from fedrec.config.federation import FederationConfig
from fedrec.config.model import MemoryConfig, ModelConfig
from fedrec.config.training import (
    PERSONAL_PARTS,
    STAGE_ORDER,
    PersonalConfig,
    StagesConfig,
    TrainingConfig,
)
from fedrec.errors import ConfigError


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
