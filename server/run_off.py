"""Whether the last round's model is better than the best one, where validations could not tell."""

from __future__ import annotations

import logging

from fedrec.training.personal import personal_parts
from server.attendance import AsksNodes
from server.best_round import BestModel, note_best
from server.comparison import VALUE, Validation, is_better
from server.roll_call import RollCall
from server.strategy import StageStrategy

LOG = logging.getLogger(__name__)


def run_off(strategy: StageStrategy, grid: AsksNodes, timeout_s: float) -> None:
    """Validate both models once more on every node that is there, and keep the better one.

    Only where rounds were compared while other nodes answered than in the best one, which is not
    the last anyway. timeout_s: for each of the two. It is left out where users keep parts on their
    nodes, for a node that has gone back to those of the best round cannot go forth again.
    """
    progress = strategy.progress
    decided = not progress.uneven or progress.best_round in (0, progress.round)
    if decided or personal_parts(strategy.config, strategy.stage):
        return
    roll_call = RollCall(strategy, grid, timeout_s, waits=False)

    def validated() -> Validation | None:
        strategy.begin_report(progress.round)
        answers = roll_call.hold("validation")
        progress.add_traffic(strategy.report)
        return Validation.of(answers, strategy.federation)

    last = BestModel(strategy.downlink.held, strategy.downlink.version)
    of_last = validated()
    strategy.restore_best()
    of_best = validated()
    if of_last is None or of_best is None:
        return
    share = strategy.config.evaluation.min_share
    better = is_better(of_last.by_node, of_best.by_node, strategy.federation, share)
    LOG.info(
        "stage %s: validated once more, round %d is at %.4f and the last one at %.4f",
        strategy.stage.name,
        progress.best_round,
        of_best.metrics["full"][VALUE],
        of_last.metrics["full"][VALUE],
    )
    if better:
        strategy.best = last
        note_best(progress, progress.round, of_last)
    else:
        note_best(progress, progress.best_round, of_best)
