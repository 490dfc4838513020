"""One stage from its parent's checkpoint to its own."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from functools import partial
from typing import Any

from flwr.app import ArrayRecord

from fedrec.checkpoints import check_parent, group_fingerprints, load_checkpoint, save_checkpoint
from fedrec.checkpoints.tensors import Arrays, by_group, model_arrays
from fedrec.config import Config, to_flat
from fedrec.errors import FedrecError
from fedrec.model.build import build_model
from fedrec.monitoring.log_context import go_on_with
from fedrec.report.round_line import round_line
from fedrec.stages import STAGES, Stage, stage_groups, without_parents
from fedrec.training.personal import personal_parts
from server.attendance import Attendance
from server.final_test import final_test
from server.optimizers import build_strategy
from server.patient_grid import PatientGrid, as_grid
from server.progress import Metrics, RoundReport, StageOver
from server.run_folder import RunFolder
from server.run_off import run_off
from server.strategy import StageStrategy
from server.strikes import Strikes

LOG = logging.getLogger(__name__)


class StageRunner:
    """Runs stages one after the other; `results` holds what `results.json` says of each."""

    def __init__(
        self, grid: PatientGrid, config: Config, attendance: Attendance, folder: RunFolder
    ) -> None:
        self.grid, self.config, self.attendance, self.folder = grid, config, attendance, folder
        first = attendance.federation.nodes[0]
        self.catalogue, self.num_items = first.catalogue, first.num_items
        self.feature_dims = dict(first.feature_dims)
        model = build_model(
            config.model,
            num_items=self.num_items,
            feature_dims=self.feature_dims,
            seed=config.run.seed,
        )
        self.initial = model_arrays(model)
        self.results: dict[str, Any] = folder.stage_results() if config.run.resume else {}
        self._ended_before = set(self.results)
        self.strikes = Strikes(config.federation.strikes)
        attendance.on_return = self.strikes.returned
        if config.run.resume:
            folder.load_strikes(self.strikes, attendance.federation)

    def run(self, stage: Stage) -> None:
        """Train, restore the best round, test it once, save the checkpoint.

        A stage that has ended before a resume is left as it is. A stage of 0 rounds is left out;
        what needs it starts from its parent, where the configuration forces that. Raises
        CheckpointError for an unfit parent.
        """
        if stage.name in self.results or stage.name in self._left_out():
            return
        go_on_with(stage=stage.name, round=None)
        self.folder.doing("starting", stage.name)
        start, parent = self._starting_point(stage)
        strategy = self._strategy(stage, start, parent)
        resumed = self.config.run.resume and self.folder.load_state(strategy)
        self.folder.forget_rounds_after(
            stage.name, set(self.results), strategy.progress.round if resumed else 0
        )
        restarted = self._personal_restarted(stage, resumed)
        began = time.monotonic() - strategy.progress.seconds
        self._train(strategy)
        timeout_s = self.config.federation.evaluation_timeout_s
        rivals = run_off(strategy, self.grid, timeout_s)
        self._restore_best(strategy)
        test, share = final_test(strategy, self.grid, timeout_s)
        strategy.progress.add_traffic(strategy.report)
        self.folder.doing("writing the checkpoint", stage.name)
        save_checkpoint(
            self.folder.checkpoints,
            {**strategy.frozen, **strategy.best.arrays},
            stage=stage.name,
            round=strategy.progress.best_round,
            trained=list(by_group(strategy.best.arrays)),
            initial=group_fingerprints(self.initial),
            catalogue=self.catalogue,
            num_items=self.num_items,
            feature_dims=self.feature_dims,
            config=to_flat(self.config),
            metrics=strategy.progress.best_metrics,
            parent=parent,
            skipped=self._skipped(stage),
        )
        seconds = time.monotonic() - began
        worth_noting = {
            **({"run_off": rivals} if rivals else {}),
            **({"test_share": share} if share < 1 else {}),
            **({"personal_restarted": True} if restarted else {}),
        }
        self._note_results(strategy, test, seconds, worth_noting)

    def _personal_restarted(self, stage: Stage, resumed: bool) -> bool:
        """Whether what users kept before this process took over belongs to what it goes on from.

        Nodes hold it for one run of Flower, so it is most likely lost: then the validation of a
        round before, and the test of that round, are of different models.
        """
        ended = [STAGES[name] for name in self._ended_before]
        kept = any(personal_parts(self.config, one) for one in ended)
        goes_on = resumed or (kept and set(self.results) == self._ended_before)
        if not (goes_on and personal_parts(self.config, stage)):
            return False
        LOG.warning(
            "stage %s goes on without what users kept before, unless their nodes still hold it: "
            "its test may be of the shared model alone",
            stage.name,
        )
        return True

    def _left_out(self) -> list[str]:
        return [name for name in STAGES if not getattr(self.config.stages, name).rounds]

    def _skipped(self, stage: Stage) -> list[str]:
        """The stages left out between the stage and the one that it starts from."""
        return list(without_parents(stage, self._left_out())[1])

    def _starting_point(self, stage: Stage) -> tuple[Arrays, str | None]:
        """All groups as the stage begins with them, and the parent's fingerprint."""
        stage, skipped = without_parents(stage, self._left_out())
        if skipped:
            LOG.warning("stage %s starts without %s, by force", stage.name, ", ".join(skipped))
        if stage.parent is None:
            return self.initial, None
        parent = load_checkpoint(self.folder.checkpoints / f"{stage.parent}.safetensors")
        shape = {k: v for k, v in to_flat(self.config).items() if k.startswith("model.")}
        check_parent(parent, stage, self.initial, catalogue=self.catalogue, model_config=shape)
        # in the order of the model: that of a file differs from one reading to the next
        return {name: parent.arrays[name] for name in self.initial}, parent.manifest.fingerprint

    def _strategy(self, stage: Stage, start: Arrays, parent: str | None) -> StageStrategy:
        trained = stage_groups(stage, by_group(start))
        parts = by_group(start)
        strategy = build_strategy(self.config.federation)
        strategy.prepare(
            config=self.config,
            stage=stage,
            attendance=self.attendance,
            arrays={name: value for group in trained for name, value in parts[group].items()},
            frozen={
                name: value
                for group, part in parts.items()
                if group not in trained
                for name, value in part.items()
            },
            on_round=self._on_round,
            parent=parent,
            strikes=self.strikes,
            ask=self.grid.send_and_receive,
        )
        strategy.exchange.on_doing = partial(self._on_doing, strategy)
        return strategy

    def _on_doing(self, strategy: StageStrategy, what: str) -> None:
        go_on_with(stage=strategy.report.stage, round=strategy.report.round)
        self.folder.doing(what, strategy.report.stage, strategy.report.round)

    def _on_round(self, strategy: StageStrategy, report: RoundReport) -> None:
        self.folder.append_round(report)
        LOG.info(round_line(asdict(report), report.validation))
        if report.validation is not None:
            self.folder.save_state(strategy)

    def _train(self, strategy: StageStrategy) -> None:
        left = strategy.stage_config.rounds - strategy.progress.round
        patience = strategy.stage_config.patience
        if left <= 0 or (patience and strategy.progress.stale_evaluations >= patience):
            return
        try:
            # the grid knows how long training and evaluation may take
            strategy.start(as_grid(self.grid), ArrayRecord(), num_rounds=left, timeout=None)  # type: ignore[arg-type]
        except StageOver as reason:
            LOG.info("stage %s ends early: %s", strategy.stage.name, reason)

    def _restore_best(self, strategy: StageStrategy) -> None:
        if strategy.progress.round and not strategy.progress.best_round:
            share = self.config.evaluation.min_share
            raise FedrecError(
                f"stage {strategy.stage.name}: nothing says which round is the best, as in no "
                f"validation nodes with the share {share:g} (evaluation.min_share) of the users "
                "answered"
            )
        strategy.restore_best()
        strategy.begin_report(strategy.progress.round)

    def _note_results(
        self,
        strategy: StageStrategy,
        test: Metrics,
        seconds: float,
        worth_noting: dict[str, Any],
    ) -> None:
        progress = strategy.progress
        self.results[strategy.stage.name] = {
            "rounds": progress.round,
            "best_round": progress.best_round,
            "skipped": self._skipped(strategy.stage),
            "seconds": round(seconds, 3),
            "refused": progress.refused,
            "bytes_up": progress.bytes_up,
            "bytes_down": progress.bytes_down,
            "group_bytes_up": progress.group_bytes_up,
            "group_bytes_down": progress.group_bytes_down,
            "validation": progress.best_metrics,
            "test": test,
            **worth_noting,
        }
        self.folder.write_results(self.outcome())

    def outcome(self) -> dict[str, Any]:
        """What `results.json` says so far: the stages, and the nodes that were left out and why."""
        return {"stages": self.results, "left_out": self.strikes.left_out()}
