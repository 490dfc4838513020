"""Whether the last round's model is better than the best one, where validations could not tell."""

from __future__ import annotations

import logging
from collections.abc import Collection

from fedrec.training.personal import personal_parts
from server.attendance import AsksNodes
from server.best_round import KeptModel, note_best
from server.comparison import Validation, is_better, mean_over
from server.roll_call import RollCall
from server.strategy import StageStrategy

LOG = logging.getLogger(__name__)


def run_off(strategy: StageStrategy, grid: AsksNodes, timeout_s: float) -> dict[str, float]:
    """Validate the last round's model once more, and then the best one's; the better one is kept.

    Only where the last validation could not tell, as other nodes answered than in the best round's,
    or too few. It is left out where users keep parts on their nodes, for a node that has gone back
    to those of the best round cannot go forth again. Who does not answer for the last model is not
    asked for the best one. timeout_s: for each of the two. Returns their NDCG@10 by round, over the
    nodes that answered for both; nothing where nobody was asked, or too few answered.
    """
    progress = strategy.progress
    if not progress.undecided or personal_parts(strategy.config, strategy.stage):
        return {}
    last = KeptModel(strategy.downlink.held, strategy.downlink.version)
    strategy.attendance.begin_round()  # whoever was silent once is asked again
    able = {node.node_id for node in strategy.muster.to_validate()}
    rivals = {progress.round: _sums(strategy, grid, timeout_s, able)}
    if progress.best_round:
        strategy.restore_best()
        rivals[progress.best_round] = _sums(strategy, grid, timeout_s, rivals[progress.round])
    found = {number: Validation.of(sums, strategy.federation) for number, sums in rivals.items()}
    return _decide(strategy, last, found)


def _sums(
    strategy: StageStrategy, grid: AsksNodes, timeout_s: float, nodes: Collection[int]
) -> dict[int, dict[str, float]]:
    """What nodes find of the model as it stands."""
    strategy.begin_report(strategy.progress.round)
    answers = RollCall(strategy, grid, timeout_s, nodes).hold("validation")
    strategy.progress.add_traffic(strategy.report)
    return answers


def _decide(
    strategy: StageStrategy, last: KeptModel, found: dict[int, Validation | None]
) -> dict[str, float]:
    """Keep the last round's model where it is better than the best one's, or there is no other."""
    progress = strategy.progress
    of_last, of_best = found[progress.round], found.get(progress.best_round)
    rival = of_best.by_node if of_best else {}
    share = strategy.config.evaluation.min_share
    better = None
    if of_last and (rival or not progress.best_round):
        better = is_better(of_last.by_node, rival, strategy.federation, share)
    if of_last is None or better is None:
        LOG.warning("stage %s: too few nodes answered in the run-off", strategy.stage.name)
        return {}
    if better:
        strategy.best = last
        note_best(progress, progress.round, of_last)
    both = [name for name in of_last.by_node if name in (rival or of_last.by_node)]
    values = {str(number): mean_over(one.by_node, both) for number, one in found.items() if one}
    LOG.info("stage %s: NDCG@10 in the run-off, by round: %s", strategy.stage.name, values)
    return values
