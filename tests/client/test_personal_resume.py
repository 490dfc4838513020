"""What users keep when a run is resumed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from fedrec import wire
from fedrec.config import Config
from fedrec.stages import STAGES
from tests.client.kept import KEEPS, parts_of

Configure = Callable[..., Config]
Federate = Callable[..., Any]


@pytest.mark.parametrize("state", ["survives", "is lost"])
def test_a_resumed_run_goes_on_with_what_the_nodes_still_hold(
    federate: Federate,
    small_config: Configure,
    caplog: pytest.LogCaptureFixture,
    state: str,
) -> None:
    """Killed in round 4, resumed after round 3."""
    changes = {**KEEPS, "stages.backbone.rounds": 4}
    runner, grid = federate(small_config(changes), 2)

    def kill(messages: list[Message]) -> None:
        if messages and messages[0].content[wire.CONFIG].get(wire.ROUND) == 4:
            raise KeyboardInterrupt

    grid.before = kill
    with pytest.raises(KeyboardInterrupt):
        runner.run(STAGES["backbone"])
    before = parts_of(grid)
    again, other = federate(small_config(changes, run={"resume": True}), 2)
    if state == "survives":
        for number, context in grid.contexts.items():
            other.contexts[number].state = context.state
    began: list[Any] = []
    other.before = lambda messages: began.append(parts_of(other))
    again.run(STAGES["backbone"])

    assert again.results["backbone"]["rounds"] == 4
    assert not any(reply.has_error() for reply in other.received)
    assert began[0].keys() == (before.keys() if state == "survives" else set())
    for number, arrays in began[0].items():
        for name, value in arrays.items():
            np.testing.assert_array_equal(before[number][name], value)
    assert ("they begin at zero again" in caplog.text) == (state == "is lost")
    assert again.results["backbone"]["personal_restarted"]
    assert "stage backbone goes on without what users kept before" in caplog.text


def test_only_the_first_stage_after_a_resume_says_that_it_began_anew(
    federate: Federate, small_config: Configure
) -> None:
    runner, _ = federate(small_config(KEEPS), 2)
    runner.run(STAGES["backbone"])
    again, _ = federate(small_config(KEEPS, run={"resume": True}), 2)
    for stage in STAGES.values():
        again.run(stage)

    marked = {name: "personal_restarted" in found for name, found in again.results.items()}
    assert marked == {"backbone": False, "alignment": True, "routing": False}


def test_a_resume_says_nothing_of_what_nobody_kept(
    federate: Federate, small_config: Configure
) -> None:
    later = {**KEEPS, "personal.from_stage": "alignment"}
    runner, _ = federate(small_config(later), 2)
    runner.run(STAGES["backbone"])
    again, _ = federate(small_config(later, run={"resume": True}), 2)
    again.run(STAGES["alignment"])

    assert "personal_restarted" not in again.results["alignment"]
