"""One stage of federated training, on top of Flower's own server optimisers."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

from fedrec import wire
from fedrec.checkpoints import Arrays, fingerprint
from fedrec.config import Config
from fedrec.errors import FedrecError
from fedrec.evaluation.metrics import add_sums, metrics_from_sums
from fedrec.model.feddmmr import group_of
from fedrec.stages import Stage
from fedrec.training.schedule import learning_rate
from server.federation import Federation, NodeInfo
from server.progress import Metrics, Progress, RoundReport, StageOver
from server.refusal import Refused, Update, read_rank_sums, read_update
from server.transport import from_record, payload_bytes, to_record

LOG = logging.getLogger(__name__)
_ATTEMPTS = 3


class StageStrategy(FedAvg):
    """Rounds of one stage; mixed in before one of Flower's server optimisers.

    The cohort is drawn over users, not nodes. Only what trains travels in a round; the frozen
    groups go to a node with the first message it gets. Nodes answer with the weighted sum of their
    users' updates; what the optimiser makes of the mean is scaled by the stage's learning rate and
    the group's multiple of it.
    """

    def prepare(
        self,
        *,
        config: Config,
        stage: Stage,
        federation: Federation,
        arrays: Arrays,
        frozen: Arrays,
        on_round: Callable[[StageStrategy, RoundReport], None],
    ) -> None:
        """Say what is trained. arrays: what trains, at the stage's start. on_round: called after
        every round, to report and to save."""
        self.config, self.stage, self.federation = config, stage, federation
        self.stage_config = getattr(config.stages, stage.name)
        self.arrays, self.best_arrays, self.frozen = arrays, arrays, frozen
        self.frozen_fingerprint, self._frozen_record = fingerprint(frozen), to_record(frozen)
        self.on_round, self.progress, self.first_round = on_round, Progress(), 0
        self.report = RoundReport(stage.name, 0, self.stage_config.rounds)
        self._provisioned: set[int] = set()
        self._started = time.monotonic()

    def resume(self, progress: Progress, arrays: Arrays, best: Arrays) -> None:
        """Go on after `progress.round`."""
        # in the order of the model, which FedAvgM's nameless moments rely on
        self.arrays = {name: arrays[name] for name in self.arrays}
        self.best_arrays = {name: best[name] for name in self.best_arrays}
        self.progress = progress
        self.first_round = progress.round

    # ------------------------------------------------------------------ train

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask every node that has users in the round's cohort to train them."""
        # The optimiser steps from zeros, so that what it returns is its step alone: a model that
        # an update is added to and taken from again does not keep the update's last bits.
        origin = to_record({name: np.zeros(a.shape) for name, a in self.arrays.items()})
        super().configure_train(server_round, origin, config, grid)  # notes the current arrays
        number = self.first_round + server_round
        self._started = time.monotonic()
        self.report = RoundReport(self.stage.name, number, self.stage_config.rounds)
        size = self.config.federation.users_per_round
        cohort = list(self.federation.cohort(self.config.run.seed, self.stage.name, number, size))
        self._members = {node.node_id: members for node, members in cohort}
        return self._messages(
            MessageType.TRAIN, number, [(node, {wire.MEMBERS: members}) for node, members in cohort]
        )

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Average the updates that are fit, let the optimiser step, scale its step by group."""
        updates = self._accepted(self._received(replies, self._members))
        if len(updates) < max(1, self.config.federation.min_replies * len(self._members)):
            self._round_failed(len(updates))
            return None, None
        self.progress.failed_rounds = 0
        mean = _weighted_mean(updates)
        self._note_training(updates, mean)
        stepped, _ = super().aggregate_train(
            self.first_round + server_round, [self._one_reply(mean)]
        )
        if stepped is None:
            raise FedrecError(f"round {self.report.round}: the optimiser returned nothing")
        self.arrays = self._scaled(from_record(stepped))
        return to_record(self.arrays), None

    def _accepted(self, replies: Iterable[Message]) -> list[Update]:
        federation, updates = self.config.federation, []
        for reply in replies:
            node = reply.metadata.src_node_id
            weight = federation.max_weight * len(self._members.get(node, ()))
            try:
                updates.append(
                    read_update(
                        reply,
                        self.arrays,
                        max_norm=federation.max_update_norm,
                        max_weight=weight,
                    )
                )
            except Refused as reason:
                self._refuse(node, reason)
        return updates

    def _refuse(self, node: int, reason: Refused) -> None:
        self.report.refused += 1
        self._provisioned.discard(node)
        self._warn(f"node {node} refused: {reason}")

    def _one_reply(self, mean: Mapping[str, NDArray[np.float64]]) -> Message:
        """The mean update as the reply that Flower's strategies expect, as if from one node."""
        content = RecordDict({wire.METRICS: MetricRecord({wire.WEIGHT: 1.0})})
        content[wire.ARRAYS] = to_record(mean)
        return Message(content, dst_node_id=0, message_type=MessageType.TRAIN)

    def _scaled(self, step: Mapping[str, NDArray[Any]]) -> Arrays:
        """The model after the optimiser's step, at the learning rate of the round and the group."""
        rate = learning_rate(self.stage_config, self.report.round)
        multiples = {"backbone": self.stage_config.backbone_rate}
        return {
            name: (before + rate * multiples.get(group_of(name), 1.0) * step[name]).astype(
                np.float32
            )
            for name, before in self.arrays.items()
        }

    def _note_training(
        self, updates: Sequence[Update], mean: Mapping[str, NDArray[np.float64]]
    ) -> None:
        weight = sum(update.weight for update in updates)
        self.report.loss = sum(update.loss for update in updates) / weight
        self.report.users = sum(update.users for update in updates)
        self.report.slowest_node_s = max(update.seconds for update in updates)
        squares: dict[str, float] = {}
        for name, value in mean.items():
            group = group_of(name)
            squares[group] = squares.get(group, 0.0) + float(np.square(value).sum())
        for group, square in squares.items():
            self.report.update_norms[group] = math.sqrt(square)
            if square == 0.0:
                self._warn(f"group {group!r} trains in stage {self.stage.name!r} but got no update")

    def _round_failed(self, accepted: int) -> None:
        self.progress.failed_rounds += 1
        self._warn(
            f"round {self.report.round} changes nothing: {accepted} of {len(self._members)} nodes "
            "gave an update fit to average"
        )
        if self.progress.failed_rounds == _ATTEMPTS:
            raise FedrecError(f"{_ATTEMPTS} rounds in a row failed; {self.report.warnings[0]}")

    # --------------------------------------------------------------- evaluate

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask every node to rank its users' validation targets, every few rounds and at the end."""
        number = self.first_round + server_round
        due = number % self.config.evaluation.every == 0 or number == self.stage_config.rounds
        return self.evaluation_messages("validation") if due else []

    def evaluation_messages(self, split: str) -> list[Message]:
        """A question to every node about the model as it stands."""
        return self._messages(
            MessageType.EVALUATE,
            self.report.round,
            [(node, {wire.SPLIT: split}) for node in self.federation.nodes],
        )

    def evaluation_metrics(self, replies: Iterable[Message], split: str) -> Metrics | None:
        """Means over all users of all nodes; None where no node answered."""
        nodes = [node.node_id for node in self.federation.nodes]
        parts = []
        for reply in self._received(replies, nodes):
            try:
                parts.append(read_rank_sums(reply, split))
            except Refused as reason:
                self._refuse(reply.metadata.src_node_id, reason)
        if len(parts) < len(nodes):
            self._warn(f"{split}: {len(parts)} of {len(nodes)} nodes answered")
        return metrics_from_sums(add_sums(parts), split) if parts else None

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Close the round: keep the best, report, save; end the stage when patience runs out."""
        replies = list(replies)
        if replies:
            self.report.validation = self.evaluation_metrics(replies, "validation")
        self._note_round()
        self.on_round(self, self.report)
        patience = self.stage_config.patience
        if patience and self.progress.stale_evaluations >= patience:
            raise StageOver(f"no better validation in {patience} evaluations")
        return None

    def _note_round(self) -> None:
        report, progress = self.report, self.progress
        progress.round = report.round
        if report.validation is not None:
            value = report.validation["full"]["ndcg@10"]
            progress.stale_evaluations += 1
            if value > progress.best_value:
                progress.best_round, progress.best_value = report.round, value
                progress.best_metrics, progress.stale_evaluations = report.validation, 0
                self.best_arrays = self.arrays
        gate = self.arrays.get("gate", self.frozen.get("gate"))
        report.gate = None if gate is None else float(gate[0])
        report.seconds = time.monotonic() - self._started
        report.users_per_s = report.users / max(report.seconds, 1e-9)
        progress.seconds += report.seconds
        progress.bytes_up += report.bytes_up
        progress.bytes_down += report.bytes_down
        report.remaining_s = progress.seconds / report.round * (report.rounds - report.round)

    # ---------------------------------------------------------------- messages

    def _messages(
        self, kind: str, number: int, asked: Iterable[tuple[NodeInfo, Mapping[str, Any]]]
    ) -> list[Message]:
        """A message to every node that is asked; all share the records of arrays."""
        about: dict[str, Any] = {
            wire.STAGE: self.stage.name,
            wire.ROUND: number,
            wire.FROZEN_FINGERPRINT: self.frozen_fingerprint,
        }
        arrays, messages = to_record(self.arrays), []
        for node, question in asked:
            config = ConfigRecord({**about, **question})
            content = RecordDict({wire.ARRAYS: arrays, wire.CONFIG: config})
            if node.node_id not in self._provisioned:
                content[wire.FROZEN] = self._frozen_record
                self._provisioned.add(node.node_id)
            messages.append(Message(content, dst_node_id=node.node_id, message_type=kind))
        self.report.bytes_down += payload_bytes(messages)
        return messages

    def _received(self, replies: Iterable[Message], asked: Collection[int]) -> list[Message]:
        """Replies in the order of the nodes, so that float sums do not depend on who was first.

        A node that was asked and is silent may not have got the frozen groups either.
        """
        order = {node.node_id: place for place, node in enumerate(self.federation.nodes)}
        known = [reply for reply in replies if reply.metadata.src_node_id in order]
        self.report.bytes_up += payload_bytes(known)
        silent = set(asked) - {reply.metadata.src_node_id for reply in known}
        if silent:
            self._provisioned -= silent
            some = sorted(silent)[:3]
            self._warn(f"{len(silent)} of {len(asked)} nodes did not answer in time: {some}")
        return sorted(known, key=lambda reply: order[reply.metadata.src_node_id])

    def _warn(self, text: str) -> None:
        LOG.warning(text)
        self.report.warnings.append(text)


def _weighted_mean(updates: Sequence[Update]) -> dict[str, NDArray[np.float64]]:
    """What a user's update is on average, by what users count; in float64, in the given order."""
    weight = sum(update.weight for update in updates)
    totals = {name: np.zeros(value.shape) for name, value in updates[0].sums.items()}
    for update in updates:
        for name, value in update.sums.items():
            totals[name] += value
    return {name: total / weight for name, total in totals.items()}
