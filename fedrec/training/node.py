"""One node: its users, what it remembers of them, and the two things it does for the federation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.config import Config
from fedrec.data import PreparedData
from fedrec.evaluation.metrics import rank_sums
from fedrec.evaluation.ranks import Ranks, ScoreBlock, rank_in_blocks
from fedrec.evaluation.sampling import sample_users
from fedrec.evaluation.targets import input_items, known_items, user_number
from fedrec.memory import residency
from fedrec.model.feddmmr import Active, FedDMMR, Modality, groups
from fedrec.model.memory import Memory
from fedrec.model.unseen import complete
from fedrec.stages import STAGES, stage_groups
from fedrec.training.batches import Batch, History, align_right, draw_batch
from fedrec.training.cohort import Cohort, CohortUpdate, train_cohort
from fedrec.training.drawing import Sampling
from fedrec.training.losses import StageTask
from fedrec.training.personal import PersonalRows
from fedrec.training.personal_parts import PersonalParts
from fedrec.training.randomness import user_generator
from fedrec.training.residencies import Residencies
from fedrec.training.trainable import Trainable, TrainableWindows
from fedrec.training.weighting import user_weight

_USERS_SCORED_AT_ONCE = 32
_SCORES_AT_ONCE = 1 << 20
_MOST_PAIRS = 1 << 26
"""Pairs of items, of all modalities, that are compared once for all users ranked: 768 MiB."""

ScoreHistories = Callable[[NDArray[np.int64], Sequence[NDArray[np.int32]]], Tensor]
"""users int64 [batch], item ids of each, oldest first -> scores [batch, items + 1]."""


class Node:
    """The users of one node, with everything that never leaves it.

    users: rows of the prepared data that belong to this node. modalities: expert name -> features.
    residencies: shared by the nodes of a process that have the same data and settings. Nothing here
    grows with the users but a number for every thousand of them.
    """

    def __init__(
        self,
        data: PreparedData,
        users: range,
        config: Config,
        modalities: Mapping[str, Modality],
        residencies: Residencies | None = None,
    ) -> None:
        self.data, self.config, self.modalities, self.users = data, config, modalities, users
        self.trainable = Trainable(data.train_end, users)
        self.drawn_from = self.trainable
        if config.federation.draw == "windows":
            length = config.model.max_len
            self.drawn_from = TrainableWindows(data.train_end, users, length=length)
        self._residencies = residencies or Residencies()

    def task(self, stage_name: str) -> StageTask:
        """The training of a stage under this node's configuration."""
        return stage_task(self.config, stage_name)

    def train(
        self,
        model: FedDMMR,
        task: StageTask,
        round_number: int,
        members: Sequence[int],
        personal: PersonalParts | None = None,
    ) -> CohortUpdate:
        """Train the users at the positions `members` of what this node's cohorts are drawn from.

        What a user draws depends on (seed, stage, round, user) alone, so it does not matter on
        which node or beside whom the user trains. personal: of this node's users; changed in place,
        and in nothing that is returned.
        """
        members_of = groups(model)
        wanted = stage_groups(task.stage, members_of)
        trained = [name for group in wanted for name in members_of[group]]
        drawn = self.drawn_from[np.asarray(members, dtype=np.int64)]
        users, times = np.unique(drawn, return_counts=True)
        windows = self._windows(times, task)
        steps = [
            self._step(users, task, round_number, step, windows)
            for step in range(task.training.local_steps)
        ]
        kept = personal or PersonalParts()
        cohort = self._cohort(users, steps, kept.rows(model, users))
        by_row = self.config.federation.item_averaging == "row"
        update = train_cohort(model, task, cohort, trained, self.modalities, weigh_rows=by_row)
        kept.put(model, users, cohort.personal)
        return update

    def fit_personal(
        self,
        model: FedDMMR,
        task: StageTask,
        members: Sequence[int],
        personal: PersonalParts,
        *,
        steps: int,
    ) -> None:
        """Train what is personal of the users at the positions `members`, changed in place, while
        the model stays: for users who come when it has been trained without them."""
        users = self.trainable[np.asarray(members, dtype=np.int64)]
        rows = personal.rows(model, users)
        for step in range(1, steps + 1):
            batch = self._step(users, task, step, "personal")
            train_cohort(model, task, self._cohort(users, [batch], rows), (), self.modalities)
        personal.put(model, users, rows)

    def _cohort(
        self,
        users: NDArray[np.int64],
        steps: Sequence[Batch],
        rows: PersonalRows,
    ) -> Cohort:
        device = self.config.run.device
        examples = np.asarray(self.data.train_end[users]) - 1
        if self.drawn_from is not self.trainable:
            examples = np.mean([_pairs(step, len(users)) for step in steps], axis=0)
        weights = torch.tensor(list(map(self._weight, examples.tolist())), device=device)
        return Cohort([step.map(lambda part: part.to(device)) for step in steps], weights, rows)

    def rank(
        self,
        model: FedDMMR,
        active: Active,
        split: str,
        *,
        users: NDArray[np.int64] | None = None,
        protocols: Sequence[str] | None = None,
        segments: NDArray[np.int8] | None = None,
        personal: PersonalParts | None = None,
    ) -> Ranks:
        """The ranks of users' targets in `split`. segments: int8 [items + 1], or None.

        users: None = those of this node that the configuration asks for. protocols: None = all
        that the split has. personal: None = with the shared model alone.
        """
        return rank_in_blocks(
            self.scorer(model, active, split, personal),
            self.data,
            self.asked(split) if users is None else users,
            split,
            protocols,
            seed=self.config.evaluation.seed,
            block=max(1, min(_USERS_SCORED_AT_ONCE, _SCORES_AT_ONCE // self.data.num_items)),
            segments=segments,
        )

    def asked(self, split: str) -> NDArray[np.int64]:
        """The users of this node whose targets in `split` the configuration asks for."""
        evaluation = self.config.evaluation
        count = evaluation.users_of(split)
        if count == 0:
            return np.arange(self.users.start, self.users.stop)
        sample = sample_users(self.data, split, count, evaluation.seed)
        first, end = np.searchsorted(sample, [self.users.start, self.users.stop])
        return sample[first:end]

    def evaluate(
        self, model: FedDMMR, active: Active, split: str, personal: PersonalParts | None = None
    ) -> dict[str, float]:
        """Sums of rank statistics over this node's users that are asked; no user, no item."""
        return rank_sums(self.rank(model, active, split, personal=personal))

    def scorer(
        self, model: FedDMMR, active: Active, split: str, personal: PersonalParts | None = None
    ) -> ScoreBlock:
        """users [batch] -> scores [batch, catalogue], from each user's past before the target."""
        known = known_items(self.data, split)
        score = self.score_histories(model, active, known, personal)

        def score_block(users: NDArray[np.int64]) -> Tensor:
            scores = score(users, [input_items(self.data, split, user) for user in users])
            return torch.nn.functional.pad(scores, (0, self.data.num_items - known), value=-inf)

        return score_block

    def score_histories(
        self, model: FedDMMR, active: Active, known: int, personal: PersonalParts | None = None
    ) -> ScoreHistories:
        """(users [batch], what each did until now) -> scores [batch, known + 1] of the items
        1..known.

        What each did must be the beginning of the user's own history here, new items aside, for
        what the memory holds after so many items is cached by user and number. Of items that the
        model was not trained with the embeddings are predicted; what there is nothing to predict
        from scores -inf. Only items that it was trained with are its input.
        """
        with torch.no_grad():
            loudness = self.config.evaluation.new_item_loudness
            catalogue = complete(model, self.modalities, known, loudness=loudness)
            model, trained = catalogue.model, model.num_items
            few = len(model.expert_names) * (known + 1) ** 2 <= _MOST_PAIRS
            adapted = model.adapt(catalogue.modalities, keep_pairs=few) if active.experts else None
        kept = personal or PersonalParts()

        def score(users: NDArray[np.int64], pasts: Sequence[NDArray[np.int32]]) -> Tensor:
            histories = [past[past <= trained].astype(np.int64) for past in pasts]
            recent = [history[-self.config.model.max_len :] for history in histories]
            item_ids = torch.from_numpy(align_right(recent)[0]).to(self.config.run.device)
            newest = item_ids.new_full((len(item_ids), 1), item_ids.shape[-1] - 1)
            hidden = model.encode(item_ids, at=newest)
            memory = self._memory_now(users, histories) if active.experts else None
            scored = model.score(
                hidden,
                None,
                active=active,
                memory=memory,
                adapted=adapted,
                personal=kept.rows(model, users).values,
            )
            return scored.scores[:, 0].masked_fill(~catalogue.known, -inf)

        return score

    def _step(
        self,
        users: NDArray[np.int64],
        task: StageTask,
        round_number: int,
        step: int | str,
        windows: NDArray[np.int64] | None = None,
    ) -> Batch:
        """What the users train on in one local step; other draws for every number or name.

        windows: [users], of each; None: as many as the stage says.
        """
        config = self.config
        sampling = Sampling(
            length=config.model.max_len,
            random_cuts=task.training.random_cuts,
            positions=task.stage_config.positions,
            negatives=task.stage_config.negatives,
            num_items=self.data.warm_items,
        )
        if windows is None:
            windows = np.full(len(users), task.stage_config.windows)
        seed, purpose = config.run.seed, f"{task.stage.name}/{step}"
        numbers = [user_number(self.data, user) for user in users.tolist()]
        return draw_batch(
            [self._history(user, remembers=task.stage.active.experts) for user in users.tolist()],
            [user_generator(seed, purpose, round_number, number) for number in numbers],
            sampling,
            windows.tolist(),
        )

    def _windows(self, times: NDArray[np.int64], task: StageTask) -> NDArray[np.int64] | None:
        """How many windows each user trains on who was drawn so often; None: as the stage says."""
        if self.drawn_from is self.trainable:
            return None
        return np.minimum(times, task.stage_config.windows or times)

    def _weight(self, examples: float) -> float:
        """What an update counts that comes from so many examples."""
        federation = self.config.federation
        return user_weight(
            examples, weighting=federation.weighting, max_weight=federation.max_weight
        )

    def _history(self, user: int, *, remembers: bool) -> History:
        items = self.data.train_items(user).astype(np.int64)
        return History(items, self._gone(user, items) if remembers else None)

    def _gone(self, user: int, items: NDArray[np.int64]) -> NDArray[np.int64]:
        """When each of a user's first `len(items)` interactions leaves the memory."""
        memory, length = self.config.memory, len(items)
        return self._residencies.of(
            user, length, lambda: residency(self._content(items), length, memory)
        )

    def _content(self, items: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """What novelty is measured by: all modalities side by side, of unit length."""
        if not self.modalities:
            return None
        wanted = torch.from_numpy(items).to(self.config.run.device)
        parts = [
            (held.values[wanted] * held.present[wanted].unsqueeze(-1)).cpu()
            for held in self.modalities.values()
        ]
        return torch.nn.functional.normalize(torch.cat(parts, dim=-1), dim=-1).numpy()

    def _memory_now(
        self, users: NDArray[np.int64], histories: Sequence[NDArray[np.int64]]
    ) -> Memory:
        """The memory after the whole of each history, for one position."""
        kept = [
            np.flatnonzero(self._gone(user, history) > len(history))
            for user, history in zip(users.tolist(), histories, strict=True)
        ]
        pairs = list(zip(histories, kept, strict=True))
        items, there = align_right([history[slots] for history, slots in pairs])
        ages, _ = align_right([len(history) - 1 - slots for history, slots in pairs])
        parts = map(torch.from_numpy, (items, ages[:, None], there[:, None]))
        return Memory(*(part.to(self.config.run.device) for part in parts))


def _pairs(step: Batch, users: int) -> NDArray[np.float64]:
    """How many (input, target) pairs each user's windows of a step hold: [users]."""
    held = (step.item_ids > 0).sum(-1).cpu().numpy()
    found = np.bincount(step.user.cpu().numpy(), weights=held, minlength=users)
    return np.asarray(found, dtype=np.float64)


def stage_task(config: Config, stage_name: str) -> StageTask:
    """A stage's part of the configuration, ready to train with."""
    return StageTask(STAGES[stage_name], getattr(config.stages, stage_name), config.training)


def load_modalities(data: PreparedData, config: Config) -> dict[str, Modality]:
    """The features that the configured experts read, of those that the data have."""
    return {
        expert: Modality(
            torch.from_numpy(np.asarray(data.features[feature].values, dtype=np.float32)).to(
                config.run.device
            ),
            torch.from_numpy(np.asarray(data.features[feature].present, dtype=bool)).to(
                config.run.device
            ),
        )
        for expert, feature in config.model.modalities.items()
        if feature in data.features
    }
