"""The test at a stage's end: every node is asked, and those that are away are waited for."""

from __future__ import annotations

from fedrec.errors import FedrecError
from fedrec.evaluation.metrics import add_sums, metrics_from_sums
from server.attendance import AsksNodes
from server.comparison import share_of
from server.progress import Metrics
from server.roll_call import RollCall
from server.strategy import StageStrategy


def final_test(strategy: StageStrategy, grid: AsksNodes, timeout_s: float) -> tuple[Metrics, float]:
    """Means over all users whose nodes answered, and the share of the users that these are.

    timeout_s: for all of it. Raises FedrecError where no node answered.
    """
    answers = RollCall(strategy, grid, timeout_s).hold("test")
    total = add_sums(answers.values())
    if not total.get("test/full/users"):
        raise FedrecError(f"stage {strategy.stage.name}: no node answered the test")
    names = strategy.federation.names()
    share = share_of([names[node] for node in answers], strategy.federation)
    return metrics_from_sums(total, "test"), share
