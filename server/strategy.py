"""One stage of federated training, on top of Flower's own server optimisers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedrec import wire
from fedrec.checkpoints import Arrays
from fedrec.config import Config
from fedrec.errors import RoundsFailed
from fedrec.stages import Stage
from fedrec.training.touched import TABLE
from server.attendance import Attendance
from server.averaging import Mean, joined
from server.best_round import KeptModel, compare
from server.comparison import Validation
from server.downlink import Downlink
from server.exchange import Exchange
from server.federation import Federation, NodeInfo
from server.muster import Muster
from server.progress import Progress, RoundReport, StageOver
from server.refusal import Update
from server.robust import together
from server.step import StepStrategy
from server.strikes import Strikes


class StageStrategy(StepStrategy):
    """Rounds of one stage; mixed in before one of Flower's server optimisers.

    The cohort is drawn over users, or windows of their histories, not nodes. Only what trains
    travels in a round; the frozen groups go to a node with the first message it gets. Nodes answer
    with the weighted sum of their users' updates; what the optimiser makes of the mean is scaled by
    the stage's learning rate and the group's multiple of it, see `StepStrategy`.
    """

    def prepare(
        self,
        *,
        config: Config,
        stage: Stage,
        attendance: Attendance,
        arrays: Arrays,
        frozen: Arrays,
        on_round: Callable[[StageStrategy, RoundReport], None],
        parent: str | None = None,
        strikes: Strikes | None = None,
        ask: Callable[[list[Message]], Iterable[Message]] | None = None,
    ) -> None:
        """Say what is trained. attendance: which nodes there are. arrays: what trains, at the
        stage's start. on_round: called after every round, to report and to save. parent:
        fingerprint of the checkpoint it starts from. strikes: of the stages before. ask: sends
        messages and returns the answers, for a second try."""
        self.config, self.stage, self.attendance = config, stage, attendance
        self.stage_config = getattr(config.stages, stage.name)
        self.by_rows = config.federation.sparse_rows and TABLE in arrays
        self.arrays, self.best = self._own(arrays), KeptModel(self._own(arrays))
        self.frozen, self.parent = frozen, parent
        self.downlink = Downlink(
            self.arrays,
            transport=config.federation.transport,
            sparse_rows=config.federation.sparse_rows,
            untrained=stage.parent is None,
        )
        self.on_round, self.progress, self.first_round = on_round, Progress(), 0
        self.exchange = Exchange(
            config=config,
            stage=stage,
            attendance=attendance,
            downlink=self.downlink,
            frozen=frozen,
            report=RoundReport(stage.name, 0, self.stage_config.rounds),
            strikes=strikes,
        )
        self.frozen_fingerprint = self.exchange.frozen_fingerprint
        self.muster = Muster(config, stage.name, self.exchange)
        self.ask, self._validates = ask, False
        self._started = time.monotonic()

    def resume(self, progress: Progress, arrays: Arrays, best: Arrays) -> None:
        """Go on after `progress.round`."""
        # in the order of the model, which FedAvgM's nameless moments rely on
        self.arrays = self._own({name: arrays[name] for name in self.arrays})
        self.best.arrays = self._own({name: best[name] for name in self.best.arrays})
        self.progress = progress
        self.first_round = progress.round
        self.resume_downlink(progress.round, progress.best_round, {})

    def resume_downlink(
        self, version: int, best_version: int, state: Mapping[str, NDArray[Any]]
    ) -> None:
        """Go on sending from a version of the model, see `Downlink.resume`."""
        self.best.version = best_version
        self.downlink.resume(self.arrays, version, state)

    def restore_best(self) -> None:
        """Let the model be that of the best round."""
        rows = self.downlink.rows_since(self.best.version)
        if self.best.version != self.downlink.version:
            self.downlink.jump(self.best.arrays, rows)
        self.arrays, self.best.version = self.best.arrays, self.downlink.version

    @property
    def federation(self) -> Federation:
        """The nodes as they are known now."""
        return self.attendance.federation

    @property
    def report(self) -> RoundReport:
        """Of the round under way."""
        return self.exchange.report

    def begin_report(self, number: int) -> None:
        """Count refusals and traffic from here on anew."""
        self.exchange.refused.clear()
        self.exchange.report = RoundReport(self.stage.name, number, self.stage_config.rounds)

    def _own(self, arrays: Arrays) -> Arrays:
        """The arrays, with a copy of the item table where rows of it are written in place."""
        return {**arrays, TABLE: np.array(arrays[TABLE])} if self.by_rows else arrays

    # ------------------------------------------------------------------ train

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask every node that is there and has users in the round's cohort to train them.

        Waits until enough of the cohort's nodes are connected.
        """
        number = self.first_round + server_round
        self._started = time.monotonic()
        self.begin_report(number)
        self._members = self.muster.begin_round(number)
        return self._training_messages(self._members)

    def _training_messages(self, members: Mapping[int, Sequence[int]]) -> list[Message]:
        nodes = [node for node in self.federation.nodes if node.node_id in members]
        return self.exchange.questions(
            MessageType.TRAIN,
            [(node, {wire.MEMBERS: members[node.node_id]}) for node in nodes],
            best_round=self.progress.best_round,
        )

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Average the updates that are fit, let the optimiser step, scale its step by group."""
        updates = self._updates(replies)
        if len(updates) < self.muster.needed:
            self._round_failed(len(updates))
            return None, None
        self.progress.failed_rounds = 0
        mean = together(updates, self.config.federation)
        self._note_training(updates, mean)
        self.follow(mean, self.first_round + server_round)
        return ArrayRecord(), None  # the model travels as the nodes need it

    def _updates(self, replies: Iterable[Message]) -> list[Update]:
        """Of the nodes in their order, after a second go where somebody is missing."""
        found = self.exchange.updates(replies, self._members, self.arrays)
        members = self.muster.second_go(found.keys()) if self.ask is not None else {}
        if self.ask is not None and members:
            answers = self.ask(self._training_messages(members))
            for node, update in self.exchange.updates(answers, members, self.arrays).items():
                found[node] = joined([found[node], update]) if node in found else update
        return [found[node.node_id] for node in self.federation.nodes if node.node_id in found]

    def _note_training(self, updates: Sequence[Update], mean: Mean) -> None:
        weight = sum(update.weight for update in updates)
        self.report.loss = sum(update.loss for update in updates) / weight
        self.report.users = sum(update.users for update in updates)
        self.report.slowest_node_s = max(update.seconds for update in updates)
        self.report.update_norms = mean.norms()
        for group, norm in self.report.update_norms.items():
            if norm == 0.0:
                self.exchange.warn(
                    f"group {group!r} trains in stage {self.stage.name!r} but got no update"
                )

    def _round_failed(self, accepted: int) -> None:
        if not self.exchange.admitted:
            raise RoundsFailed(f"every node is left out; {self.exchange.strikes.last_reason()}")
        if not self._members:
            self.exchange.warn(
                f"round {self.report.round} changes nothing: whom it drew is on nodes left out"
            )
            return
        self.progress.failed_rounds += 1
        self.exchange.warn(
            f"round {self.report.round} changes nothing: {accepted} of {len(self._members)} nodes "
            f"gave an update fit to average, {self.muster.needed} are needed"
        )
        allowed = self.config.federation.failed_rounds
        if self.progress.failed_rounds >= allowed:
            raise RoundsFailed(f"{allowed} rounds in a row failed; {self.report.warnings[0]}")

    # --------------------------------------------------------------- evaluate

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask every node to rank its users' validation targets, every few rounds and at the end."""
        number = self.first_round + server_round
        every, last = self.config.evaluation.every, self.stage_config.rounds
        self._validates = number % every == 0 or number == last
        if not self._validates:
            return []
        self.exchange.refused.clear()  # of training; whose validation is unfit is not asked again
        return self.evaluation_messages("validation", self.muster.to_validate())

    def evaluation_messages(
        self, split: str, nodes: Iterable[NodeInfo] | None = None
    ) -> list[Message]:
        """A question to these nodes, None = all that are not left out, about the model as it
        stands."""
        asked = self.exchange.admitted if nodes is None else nodes
        return self.exchange.questions(
            MessageType.EVALUATE,
            [(node, {wire.SPLIT: split}) for node in asked],
            best_round=self.progress.best_round,
        )

    def validation(self, replies: Iterable[Message]) -> Validation | None:
        """What the nodes that answered measured; None where they have no users."""
        parts = self.exchange.rank_sums(replies, "validation")
        parts |= self._asked_again(parts)
        self.exchange.warn_of_missing(parts, "validation")
        return Validation.of(parts, self.federation)

    def _asked_again(self, answered: Mapping[int, object]) -> dict[int, dict[str, float]]:
        """What nodes measured that failed at first, or have come back since. Whoever was silent
        has had its time."""
        if self.ask is None:
            return {}
        nodes = self.muster.to_ask_again({*answered, *self.exchange.silent})
        if not nodes:
            return {}
        replies = self.ask(self.evaluation_messages("validation", nodes))
        return self.exchange.rank_sums(replies, "validation")

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Close the round: keep the best, report, save; end the stage when patience runs out."""
        # also where nobody answered: what nodes hold is not known then
        found = self.validation(replies) if self._validates else None
        if found is not None:
            self._compare(found)
        elif self._validates:
            self.progress.undecided = True
        self._note_round()
        self.on_round(self, self.report)
        patience = self.stage_config.patience
        if patience and self.progress.stale_evaluations >= patience:
            raise StageOver(f"no better validation in {patience} evaluations")
        return None

    def _note_round(self) -> None:
        report = self.report
        report.gate = self._gate("gate")
        report.transition_gate = self._gate("transition_gate")
        report.left_out = len(self.exchange.strikes.left_out())
        self.progress.end_round(report, time.monotonic() - self._started)

    def _gate(self, name: str) -> float | None:
        """A gate as it stands, trained or frozen; None where the model has no such parameter."""
        gate = self.arrays.get(name, self.frozen.get(name))
        return None if gate is None else float(gate[0])

    def _compare(self, found: Validation) -> None:
        """Keep the model where it is the best so far of those that may be kept."""
        self.report.validation = found.metrics
        if self.report.round < self.config.evaluation.best_from * self.stage_config.rounds:
            return
        better = compare(
            found,
            self.report.round,
            progress=self.progress,
            federation=self.federation,
            min_share=self.config.evaluation.min_share,
        )
        if better is None:
            self.exchange.warn(
                f"round {self.report.round} is not compared with the best one: too few users "
                "answered both times (evaluation.min_share)"
            )
        elif better:
            self.best.keep(self.downlink)
