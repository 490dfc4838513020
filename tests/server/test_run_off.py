"""The last round's model against the best one, where nodes were missing from validations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message

from fedrec import wire
from fedrec.config import Config
from fedrec.stages import STAGES
from tests.server.stages import Killed, assert_same_arrays, checkpoint

Configure = Callable[..., Config]
Federate = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("quiet_flower")
ABSENT = 1000


class Nodes:
    """What nodes find, validation by validation; the run-off's are the fifth and the sixth.

    hits: of every node, for every sum of ranks. absent: in which validations one is silent.
    killed: in which one the process ends.
    """

    def __init__(self, grid: Any, hits: Sequence[float], absent: int = 0, killed: int = 0) -> None:
        self.grid, self.hits, self.absent, self.killed = grid, hits, absent, killed
        self.validations = 0
        grid.before, grid.tamper = self.before, self.tamper

    def before(self, messages: list[Message]) -> None:
        validates = bool(messages) and _split(messages[0]) == "validation"
        self.validations += validates
        self.grid.silent = {ABSENT} if validates and self.validations == self.absent else set()
        if validates and self.validations == self.killed:
            raise Killed

    def tamper(self, message: Message, reply: Message) -> Message:
        if _split(message) == "validation":
            found = reply.content.metric_records[wire.METRICS]
            found.update({key: self.hits[self.validations - 1] for key in found if "sum" in key})
        return reply


def _split(message: Message) -> object:
    return message.content[wire.CONFIG].get(wire.SPLIT)


@pytest.fixture
def run(
    federate: Federate, small_config: Configure, tmp_path: Path
) -> Callable[..., tuple[Config, Nodes, Any]]:
    """(name, hits, absent, settings) -> the configuration, the nodes, and the stage's results."""

    def made(
        name: str, hits: Sequence[float], absent: int = 0, killed: int = 0, **settings: Any
    ) -> tuple[Config, Nodes, Any]:
        rounds = {"stages.backbone.rounds": 4, "evaluation.every": 1}
        config = small_config({**rounds, "run.out": str(tmp_path / name), **settings})
        runner, grid = federate(config, 3)
        nodes = Nodes(grid, hits, absent, killed)
        if settings.get("run.resume"):
            nodes.validations = 4
        runner.run(STAGES["backbone"])
        return config, nodes, runner.results["backbone"]

    return made


TRANSPORTS = [("float32", False), ("int8", False), ("float16", True)]


@pytest.mark.parametrize(("transport", "rows"), TRANSPORTS)
def test_the_last_round_wins_where_an_absent_node_had_hidden_that_it_is_better(
    run: Callable[..., Any], transport: str, rows: bool
) -> None:
    how = {"federation.transport": transport, "federation.sparse_rows": rows}
    config, nodes, found = run("hidden", [0.1, 0.2, 0.1, 0.19, 0.3, 0.2], absent=4, **how)
    seen, _, undisturbed = run("seen", [0.1, 0.2, 0.1, 0.3], **how)

    assert nodes.validations == 6
    assert found["best_round"] == undisturbed["best_round"] == 4
    assert found["validation"] == undisturbed["validation"]
    assert found["test"] == undisturbed["test"]
    assert_same_arrays(checkpoint(config, "backbone").arrays, checkpoint(seen, "backbone").arrays)


@pytest.mark.parametrize(("transport", "rows"), TRANSPORTS)
def test_the_best_round_stays_where_it_is_better(
    run: Callable[..., Any], transport: str, rows: bool
) -> None:
    how = {"federation.transport": transport, "federation.sparse_rows": rows}
    config, nodes, found = run("best", [0.1, 0.2, 0.1, 0.19, 0.2, 0.25], absent=4, **how)
    seen, _, undisturbed = run("seen", [0.1, 0.25, 0.1, 0.2], **how)

    assert nodes.validations == 6
    assert found["best_round"] == 2
    assert found["validation"] == undisturbed["validation"]  # the newer of the two of it
    assert found["test"] == undisturbed["test"]
    assert_same_arrays(checkpoint(config, "backbone").arrays, checkpoint(seen, "backbone").arrays)


@pytest.mark.parametrize(("hits", "absent"), [([0.1, 0.2, 0.1, 0.1], 0), ([0.1, 0.2, 0.1, 0.3], 3)])
def test_nothing_is_asked_again_where_all_answered_or_the_last_round_is_the_best(
    run: Callable[..., Any], hits: list[float], absent: int
) -> None:
    assert run("decided", hits, absent)[1].validations == 4


def test_the_traffic_of_a_run_off_is_counted(run: Callable[..., Any]) -> None:
    hits = [0.1, 0.2, 0.1, 0.19, 0.3, 0.2]
    plain, held = run("plain", hits)[2], run("held", hits, absent=4)[2]

    model = plain["group_bytes_down"]["backbone"] / (3 * (4 + 4 + 1))  # rounds, validations, test
    more = held["group_bytes_down"]["backbone"] - plain["group_bytes_down"]["backbone"]
    assert more == 6 * model


def test_a_run_killed_in_a_run_off_resumes_to_the_same_results(run: Callable[..., Any]) -> None:
    hits = [0.1, 0.2, 0.1, 0.19, 0.3, 0.2]
    whole, _, expected = run("whole", hits, absent=4)
    with pytest.raises(Killed):
        run("killed", hits, absent=4, killed=6)

    config, _, found = run("killed", hits, absent=4, **{"run.resume": True})

    assert {**found, "seconds": 0} | _traffic(expected) == {**expected, "seconds": 0}
    assert_same_arrays(checkpoint(config, "backbone").arrays, checkpoint(whole, "backbone").arrays)


def _traffic(results: dict[str, Any]) -> dict[str, Any]:
    """What the killed process sent in the run-off is in no state, so it is not compared."""
    return {key: value for key, value in results.items() if "bytes" in key}


def test_what_users_keep_cannot_go_forth_again_so_there_is_no_run_off(
    run: Callable[..., Any],
) -> None:
    kept = {"personal.parts": "embedding", "personal.from_stage": "backbone"}
    assert run("kept", [0.1, 0.2, 0.1, 0.19], absent=4, **kept)[1].validations == 4
