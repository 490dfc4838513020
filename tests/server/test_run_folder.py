"""How a run's folder begins, what its lines and results survive, and what it refuses to replace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedrec.config import load_config
from fedrec.errors import FedrecError
from fedrec.monitoring.run_state import read_state
from server.progress import RoundReport
from server.run_folder import RunFolder
from tests.server.saved_runs import METRICS, at_round, config, make

pytestmark = pytest.mark.usefixtures("flower_identity")


def lines(folder: RunFolder) -> list[tuple[str, int]]:
    records = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    return [(record["stage"], record["round"]) for record in records]


def test_a_line_a_round_with_all_that_is_known_of_it(folder: RunFolder) -> None:
    report = RoundReport(
        "backbone", 3, 9, loss=1.5, validation=METRICS, gate=0.1, warnings=["nöde"]
    )
    folder.append_round(report)
    folder.append_round(RoundReport("backbone", 4, 9))

    first, second = (json.loads(line) for line in folder.metrics.read_text().splitlines())
    assert first["validation"] == METRICS
    assert first["warnings"] == ["nöde"]
    assert (second["round"], second["loss"], second["validation"]) == (4, None, None)


def test_rounds_that_run_again_are_forgotten_and_others_kept(folder: RunFolder) -> None:
    for stage, number in (("backbone", 1), ("backbone", 2), ("alignment", 1), ("alignment", 2)):
        folder.append_round(RoundReport(stage, number, 2))

    folder.forget_rounds_after("alignment", {"backbone"}, 1)

    assert lines(folder) == [("backbone", 1), ("backbone", 2), ("alignment", 1)]


@pytest.mark.parametrize("missing", [1, 20, 80])
def test_a_line_that_was_cut_short_is_forgotten(folder: RunFolder, missing: int) -> None:
    for number in (1, 2, 3):
        folder.append_round(RoundReport("backbone", number, 9))
    content = folder.metrics.read_bytes()
    folder.metrics.write_bytes(content[: -1 - missing])

    folder.forget_rounds_after("backbone", set(), 3)
    folder.append_round(RoundReport("backbone", 3, 9))

    assert lines(folder) == [("backbone", 1), ("backbone", 2), ("backbone", 3)]


def test_a_line_without_its_end_does_not_swallow_the_next(folder: RunFolder) -> None:
    for number in (1, 2):
        folder.append_round(RoundReport("backbone", number, 9))
    folder.metrics.write_bytes(folder.metrics.read_bytes()[:-1])

    folder.forget_rounds_after("backbone", set(), 2)
    folder.append_round(RoundReport("backbone", 3, 9))

    assert lines(folder) == [("backbone", 1), ("backbone", 2), ("backbone", 3)]


def test_there_may_be_no_lines_yet(folder: RunFolder) -> None:
    folder.metrics.unlink()

    folder.forget_rounds_after("backbone", set(), 0)


# ----------------------------------------------------------------------------- beginning and end


def test_a_run_begins_with_its_configuration(folder: RunFolder) -> None:
    assert load_config(folder.path / "config.toml") == config(folder)


def test_a_new_run_never_replaces_the_one_before(folder: RunFolder) -> None:
    folder.append_round(RoundReport("backbone", 1, 1))
    folder.write_results({"stages": {"backbone": {"rounds": 1}}})

    with pytest.raises(FedrecError, match="holds a run already"):
        folder.begin(config(folder))

    assert lines(folder) == [("backbone", 1)]
    assert folder.stage_results() == {"backbone": {"rounds": 1}}


def test_a_resumed_run_forgets_nothing(folder: RunFolder) -> None:
    folder.append_round(RoundReport("backbone", 1, 1))
    folder.save_state(at_round(1))
    folder.write_results({"stages": {"backbone": {"rounds": 1}}})

    folder.begin(config(folder, resume=True))

    assert lines(folder) == [("backbone", 1)]
    assert folder.stage_results() == {"backbone": {"rounds": 1}}
    assert folder.load_state(make())


def test_damaged_results_are_told(folder: RunFolder) -> None:
    (folder.path / "results.json").write_text('{"stages": {')

    with pytest.raises(FedrecError, match=r"results\.json is damaged"):
        folder.stage_results()


def test_the_status_of_a_run_lies_in_its_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "not" / "there" / "yet")

    with folder.status():
        folder.doing("testing", "backbone")
        state = read_state(folder.path / "status.json")
        assert (state.state, state.doing, state.stage) == ("running", "testing", "backbone")

    assert read_state(folder.path / "status.json").state == "finished"


def test_what_a_kill_left_half_written_is_removed(folder: RunFolder) -> None:
    leftovers = [folder.path / ".status.json.part-1", folder.checkpoints / ".state.json.part-1"]
    for leftover in leftovers:
        leftover.touch()
    folder.begin(config(folder, resume=True))
    assert not [leftover for leftover in leftovers if leftover.exists()]
