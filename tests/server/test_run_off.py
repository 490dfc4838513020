"""The last round against the best one, where nodes were missing from the last validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


class Nodes:
    """What nodes find, validation by validation; the run-off's are the fifth and the sixth.

    hits: of every node, for every sum of ranks. silent: the nodes that do not answer, by
    validation. killed: in which one the process ends.
    """

    def __init__(
        self, grid: Any, hits: Sequence[float], silent: Mapping[int, set[int]], killed: int
    ) -> None:
        self.grid, self.hits, self.silent, self.killed = grid, hits, silent, killed
        self.validations = 0
        grid.before, grid.tamper = self.before, self.tamper

    def before(self, messages: list[Message]) -> None:
        validates = bool(messages) and _split(messages[0]) == "validation"
        self.validations += validates
        self.grid.silent = self.silent.get(self.validations, set()) if validates else set()
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
    """(name, hits, silent, settings) -> the configuration, the nodes, and the stage's results.

    silent: in which validation node 1000 is, or nodes by validation.
    """

    def made(
        name: str,
        hits: Sequence[float],
        silent: int | Mapping[int, set[int]] = 0,
        killed: int = 0,
        **settings: Any,
    ) -> tuple[Config, Nodes, Any]:
        silent = {silent: {1000}} if isinstance(silent, int) else silent
        rounds = {"stages.backbone.rounds": 4, "evaluation.every": 1}
        config = small_config({**rounds, "run.out": str(tmp_path / name), **settings})
        runner, grid = federate(config, 3)
        nodes = Nodes(grid, hits, silent, killed)
        if settings.get("run.resume"):
            nodes.validations = 4
        runner.run(STAGES["backbone"])
        return config, nodes, runner.results["backbone"]

    return made


TRANSPORTS = [("float32", False), ("int8", False), ("float16", True)]
LAST_IS_BETTER = [0.1, 0.2, 0.1, 0.19, 0.3, 0.2]
BEST_IS_BETTER = [0.1, 0.2, 0.1, 0.19, 0.2, 0.25]


@pytest.mark.parametrize(("transport", "rows"), TRANSPORTS)
def test_the_last_round_is_kept_where_it_is_better(
    run: Callable[..., Any], transport: str, rows: bool
) -> None:
    how = {"federation.transport": transport, "federation.sparse_rows": rows}
    config, nodes, found = run("hidden", LAST_IS_BETTER, silent=4, **how)
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
    config, nodes, found = run("best", BEST_IS_BETTER, silent=4, **how)
    seen, _, undisturbed = run("seen", BEST_IS_BETTER, **how)

    assert nodes.validations == 6
    assert found["best_round"] == 2
    assert set(found["run_off"]) == {"2", "4"}
    assert found["run_off"]["2"] > found["run_off"]["4"]
    assert found["validation"] == undisturbed["validation"]
    assert found["test"] == undisturbed["test"]
    assert_same_arrays(checkpoint(config, "backbone").arrays, checkpoint(seen, "backbone").arrays)


def test_the_first_half_is_of_the_last_round_and_the_second_of_the_best(
    run: Callable[..., Any],
) -> None:
    _, nodes, _ = run("halves", LAST_IS_BETTER, silent=4)

    asked = [message for message in nodes.grid.sent if _split(message) == "validation"]
    of_last, of_best = asked[-6], asked[-3]
    for name, array in asked[3].content[wire.ARRAYS].items():  # of the second round, the best
        assert of_best.content[wire.ARRAYS][name].data == array.data
    for name, array in asked[9].content[wire.ARRAYS].items():  # of the fourth round, the last
        assert of_last.content[wire.ARRAYS][name].data == array.data


@pytest.mark.parametrize(
    ("hits", "silent"),
    [([0.1, 0.2, 0.1, 0.1], 0), ([0.1, 0.2, 0.1, 0.3], 4), ([0.1, 0.2, 0.1, 0.1], 3)],
)
def test_nothing_is_asked_again_where_the_last_validation_could_tell(
    run: Callable[..., Any], hits: list[float], silent: int
) -> None:
    _, nodes, found = run("decided", hits, silent)

    assert nodes.validations == 4
    assert "run_off" not in found


def test_who_is_silent_in_the_first_half_is_not_asked_in_the_second(
    run: Callable[..., Any],
) -> None:
    _, nodes, found = run("half", LAST_IS_BETTER, {4: {1000}, 5: {999}})

    asked = [m.metadata.dst_node_id for m in nodes.grid.sent if _split(m) == "validation"]
    assert asked[-5:] == [1000, 999, 998, 1000, 998]
    assert found["best_round"] == 4
    assert set(found["run_off"]) == {"2", "4"}


@pytest.mark.parametrize("half", [5, 6])
def test_a_run_off_that_too_few_answer_leaves_the_best_round_as_it_was(
    run: Callable[..., Any], half: int
) -> None:
    silent = {4: {1000}, half: {1000, 999}}

    config, _, found = run("few", LAST_IS_BETTER, silent, **{"evaluation.min_share": 0.6})
    seen, _, undisturbed = run("seen", LAST_IS_BETTER)

    assert found["best_round"] == 2
    assert found["validation"] == undisturbed["validation"]
    assert "run_off" not in found
    assert_same_arrays(checkpoint(config, "backbone").arrays, checkpoint(seen, "backbone").arrays)


def test_where_no_validation_counted_the_last_round_gets_another_one(
    run: Callable[..., Any],
) -> None:
    """Only the last round may be the best, and hardly anybody answered in it."""
    last = {"evaluation.best_from": 1.0, "evaluation.min_share": 0.6}

    _, nodes, found = run("alone", [0.1, 0.4, 0.1, 0.2, 0.3], {4: {1000, 999}}, **last)

    assert nodes.validations == 5
    assert found["best_round"] == 4
    assert set(found["run_off"]) == {"4"}


def test_the_traffic_of_a_run_off_is_counted(run: Callable[..., Any]) -> None:
    plain, held = run("plain", LAST_IS_BETTER)[2], run("held", LAST_IS_BETTER, silent=4)[2]

    model = plain["group_bytes_down"]["backbone"] / (3 * (4 + 4 + 1))  # rounds, validations, test
    more = held["group_bytes_down"]["backbone"] - plain["group_bytes_down"]["backbone"]
    assert more == 6 * model


@pytest.mark.parametrize(("transport", "rows"), TRANSPORTS)
def test_a_run_killed_in_a_run_off_resumes_to_the_same_results(
    run: Callable[..., Any], transport: str, rows: bool
) -> None:
    how = {"federation.transport": transport, "federation.sparse_rows": rows}
    whole, _, expected = run("whole", LAST_IS_BETTER, silent=4, **how)
    with pytest.raises(Killed):
        run("killed", LAST_IS_BETTER, silent=4, killed=6, **how)

    config, _, found = run("killed", LAST_IS_BETTER, **how, **{"run.resume": True})

    assert {**found, "seconds": 0} | _traffic(expected) == {**expected, "seconds": 0}
    assert_same_arrays(checkpoint(config, "backbone").arrays, checkpoint(whole, "backbone").arrays)


def _traffic(results: dict[str, Any]) -> dict[str, Any]:
    """What the killed process sent in the run-off is in no state, so it is not compared."""
    return {key: value for key, value in results.items() if "bytes" in key}


def test_what_users_keep_cannot_go_forth_again_so_there_is_no_run_off(
    run: Callable[..., Any],
) -> None:
    kept = {"personal.parts": "embedding", "personal.from_stage": "backbone"}
    assert run("kept", LAST_IS_BETTER, silent=4, **kept)[1].validations == 4
