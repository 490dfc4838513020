"""Whole stages over real nodes in this process: their order, their best round, and resuming."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message, MetricRecord, RecordDict

from fedrec import wire
from fedrec.checkpoints import Arrays, Checkpoint, load_checkpoint, save_checkpoint
from fedrec.checkpoints.tensors import by_group
from fedrec.config import Config
from fedrec.errors import CheckpointError, ConfigError, FedrecError
from fedrec.stages import STAGES
from server.progress import RoundReport
from server.run_folder import RunFolder
from tests.loopback import answered

Configure = Callable[..., Config]
Federate = Callable[..., Any]


class Killed(BaseException):
    """Nothing catches this, as nothing catches SIGKILL."""


@pytest.fixture(autouse=True)
def _quiet(flower_identity: None) -> None:
    logging.getLogger("flwr").setLevel(logging.WARNING)


def checkpoint(config: Config, stage: str) -> Checkpoint:
    return load_checkpoint(Path(config.run.out) / "checkpoints" / f"{stage}.safetensors")


def metrics_lines(config: Config) -> list[dict[str, Any]]:
    text = (Path(config.run.out) / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def assert_same_arrays(ours: Arrays, theirs: Arrays) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


def run_stages(federate: Federate, config: Config, nodes: int = 2) -> dict[str, Any]:
    """All stages as `server.app` runs them; the results."""
    runner, _ = federate(config, nodes)
    for stage in STAGES.values():
        runner.run(stage)
    return dict(runner.results)


# ------------------------------------------------------------------------------------ three stages


def test_three_stages_one_after_the_other(federate: Federate, small_config: Configure) -> None:
    config = small_config()

    results = run_stages(federate, config)

    assert list(results) == ["backbone", "alignment", "routing"]
    parent = None
    for name, result in results.items():
        held = checkpoint(config, name)
        assert held.manifest.stage == name
        assert held.manifest.round == result["best_round"]
        assert held.manifest.parent == parent
        assert held.manifest.metrics == result["validation"]
        assert set(result) == {
            "rounds", "best_round", "seconds", "bytes_up", "bytes_down", "group_bytes_up",
            "group_bytes_down", "validation", "test", "skipped", "refused",
        }  # fmt: skip
        assert result["rounds"] == 2
        assert result["bytes_up"] > 0 < result["bytes_down"]
        assert set(result["test"]) == set(result["validation"]) == {"full", "sampled100"}
        parent = held.manifest.fingerprint
    stored = json.loads((Path(config.run.out) / "results.json").read_text())
    assert stored == {"stages": results, "left_out": []}


def test_a_stage_changes_what_it_trains_and_nothing_else(
    federate: Federate, small_config: Configure
) -> None:
    config = small_config()
    run_stages(federate, config)
    runner, _ = federate(small_config(run={"out": config.run.out + "-2"}))
    before = by_group(runner.initial)

    for name in STAGES:
        held = checkpoint(config, name)
        after = by_group(held.arrays)
        for group, arrays in after.items():
            same = all(np.array_equal(arrays[key], before[group][key]) for key in arrays)
            assert same == (group not in held.manifest.trained), (name, group)
        before = after
    assert "item_embedding" not in checkpoint(config, "routing").manifest.trained


def test_each_group_has_its_norm_and_the_gate_is_told_every_round(
    federate: Federate, small_config: Configure
) -> None:
    config = small_config()

    run_stages(federate, config)

    for line in metrics_lines(config):
        trained = checkpoint(config, line["stage"]).manifest.trained
        assert set(line["update_norms"]) == set(trained)
        assert all(np.isfinite(norm) for norm in line["update_norms"].values())
        assert isinstance(line["gate"], float)
    gates = {line["gate"] for line in metrics_lines(config)}
    assert len(gates) == 1 + 4  # as it was initialised, then moved in every round of two stages


def test_the_best_round_is_restored_and_tested_not_the_last(
    federate: Federate, small_config: Configure
) -> None:
    """Nodes that say that round 2 of 4 was best; the test must be of that model."""
    config = small_config({"stages.backbone.rounds": 4})
    runner, grid = federate(config)
    trained: dict[int, Message] = {}
    tested: list[Message] = []

    def note(messages: list[Message]) -> None:
        for message in messages:
            about = message.content[wire.CONFIG]
            if message.metadata.message_type == "train":
                trained[about[wire.ROUND]] = message  # carries the model of the round before
            elif about[wire.SPLIT] == "test":
                tested.append(message)

    def pretend(message: Message, reply: Message) -> Message:
        asked = message.content[wire.CONFIG]
        if asked.get(wire.SPLIT) != "validation":
            return reply
        hits = 2.0 if asked[wire.ROUND] == 2 else 1.0
        metrics = {
            key: value if key.endswith("users") else hits
            for key, value in reply.content[wire.METRICS].items()
        }
        records = {wire.METRICS: MetricRecord(metrics), wire.CONFIG: answered(message)}
        return Message(RecordDict(records), reply_to=message)

    grid.before, grid.tamper = note, pretend
    runner.run(STAGES["backbone"])

    assert runner.results["backbone"]["best_round"] == 2
    held = checkpoint(config, "backbone")
    assert held.manifest.round == 2
    best = trained[3].content[wire.ARRAYS]  # what round 3 began with is what round 2 ended with
    assert len(tested) == 3
    for name, array in best.items():
        np.testing.assert_array_equal(array.numpy(), held.arrays[name])
        np.testing.assert_array_equal(array.numpy(), tested[0].content[wire.ARRAYS][name].numpy())
    assert not np.array_equal(
        held.arrays["item_embedding.weight"],
        trained[4].content[wire.ARRAYS]["item_embedding.weight"].numpy(),
    )


def test_a_stage_is_tested_once(federate: Federate, small_config: Configure) -> None:
    runner, grid = federate(small_config(), 2)

    runner.run(STAGES["backbone"])

    splits = [m.content[wire.CONFIG].get(wire.SPLIT) for m in grid.sent]
    assert splits.count("test") == 2  # one message a node
    assert splits.index("test") == len(splits) - 2


def test_patience_ends_a_stage_early(federate: Federate, small_config: Configure) -> None:
    changes = {"stages.backbone.rounds": 50, "stages.backbone.patience": 2}
    config = small_config({**changes, "stages.backbone.learning_rate": 1e-12})
    runner, _ = federate(config)

    runner.run(STAGES["backbone"])

    assert runner.results["backbone"]["rounds"] == 3
    assert runner.results["backbone"]["best_round"] == 1
    assert [line["round"] for line in metrics_lines(config)] == [1, 2, 3]


def test_training_and_evaluation_have_deadlines_of_their_own(
    federate: Federate, small_config: Configure
) -> None:
    deadlines = {"round_timeout_s": 77.0, "evaluation_timeout_s": 33.0}
    runner, grid = federate(small_config(federation=deadlines))

    runner.run(STAGES["backbone"])

    assert grid.timeouts[1:-1] == [77.0, 33.0, 77.0, 33.0]
    assert grid.timeouts[-1] == pytest.approx(33.0, abs=5.0)  # what is left for the test


def test_a_node_that_goes_silent_does_not_hold_up_the_others(
    federate: Federate, small_config: Configure
) -> None:
    config = small_config({"federation.min_replies": 0.3})
    runner, grid = federate(config, 3)
    grid.silent = {1000}

    runner.run(STAGES["backbone"])

    for line in metrics_lines(config):
        assert "1 of 3 nodes did not answer in time: [1000]" in line["warnings"]
        assert line["validation"]["full"]["users"] < 12


def test_nodes_that_all_go_silent_end_the_run(federate: Federate, small_config: Configure) -> None:
    runner, grid = federate(small_config({"stages.backbone.rounds": 9}), 2)
    grid.silent = {1000, 999}

    with pytest.raises(FedrecError, match=r"3 rounds in a row failed; 2 of 2 nodes did not answer"):
        runner.run(STAGES["backbone"])


def test_a_test_that_nobody_answers_ends_the_run(
    federate: Federate, small_config: Configure
) -> None:
    runner, grid = federate(small_config(), 2)

    def go_silent(messages: list[Message]) -> None:
        if messages and messages[0].content[wire.CONFIG].get(wire.SPLIT) == "test":
            grid.silent = {1000, 999}

    grid.before = go_silent
    with pytest.raises(FedrecError, match="no node answered the test"):
        runner.run(STAGES["backbone"])


# ---------------------------------------------------------------------------- the order of stages


@pytest.mark.parametrize(("stage", "parent"), [("alignment", "backbone"), ("routing", "alignment")])
def test_a_stage_does_not_start_without_its_parent(
    federate: Federate, small_config: Configure, stage: str, parent: str
) -> None:
    runner, grid = federate(small_config())
    queries = len(grid.sent)

    with pytest.raises(CheckpointError, match=rf"no checkpoint .*{parent}"):
        runner.run(STAGES[stage])

    assert len(grid.sent) == queries


def resave(where: Config, name: str, arrays: Arrays | None = None, **changes: Any) -> None:
    """Replace a checkpoint by one that is whole and says something else."""
    held = checkpoint(where, name)
    about = {
        key: getattr(held.manifest, key)
        for key in held.manifest.__dataclass_fields__
        if key not in ("groups", "fingerprint", "format")
    }
    folder = held.path.parent
    saved = save_checkpoint(folder, arrays or held.arrays, **{**about, **changes})
    if saved.path != held.path:
        saved.path.rename(held.path)
        saved.path.with_suffix(".json").rename(held.path.with_suffix(".json"))


def untrained(runner: Any, config: Config, group: str) -> Arrays:
    arrays = checkpoint(config, "backbone").arrays
    return {**arrays, **by_group(runner.initial)[group]}


FOREIGN: dict[str, tuple[Callable[[Any, Config], None], str]] = {
    "of another stage": (lambda r, c: resave(c, "backbone", stage="routing"), "of stage 'routing'"),
    "another catalogue": (lambda r, c: resave(c, "backbone", catalogue="f" * 64), "catalogue fff"),
    "another model": (
        lambda r, c: resave(
            c, "backbone", config={**checkpoint(c, "backbone").manifest.config, "model.heads": 7}
        ),
        r"model\.heads was 7, now 1",
    ),
    "untrained items": (
        lambda r, c: resave(c, "backbone", untrained(r, c, "item_embedding")),
        "'item_embedding' is as it was initialised",
    ),
    "untrained backbone": (
        lambda r, c: resave(c, "backbone", untrained(r, c, "backbone")),
        "'backbone' is as it was initialised",
    ),
    "not finite": (
        lambda r, c: resave(
            c,
            "backbone",
            {**checkpoint(c, "backbone").arrays, "gate": np.array([np.nan], dtype=np.float32)},
        ),
        "'gate' holds values that are not finite",
    ),
    "damaged": (
        lambda r, c: checkpoint(c, "backbone").path.write_bytes(b"damaged"),
        "is damaged",
    ),
    "without a manifest": (
        lambda r, c: checkpoint(c, "backbone").path.with_suffix(".json").unlink(),
        "no checkpoint manifest",
    ),
}


@pytest.mark.parametrize(("spoil", "reason"), FOREIGN.values(), ids=FOREIGN.keys())
def test_a_stage_does_not_start_from_an_unfit_parent(
    federate: Federate,
    small_config: Configure,
    spoil: Callable[[Any, Config], None],
    reason: str,
) -> None:
    config = small_config({"stages.backbone.rounds": 1})
    runner, _ = federate(config)
    runner.run(STAGES["backbone"])
    spoil(runner, config)

    with pytest.raises(CheckpointError, match=reason):
        runner.run(STAGES["alignment"])


def test_a_backbone_that_never_got_an_update_is_not_built_upon(
    federate: Federate, small_config: Configure
) -> None:
    """A stage whose rounds change nothing ends, and the next one refuses what it left."""
    config = small_config({"stages.backbone.learning_rate": 1e-30})
    runner, _ = federate(config)
    runner.run(STAGES["backbone"])

    with pytest.raises(CheckpointError, match="as it was initialised; stage 'backbone' did not"):
        runner.run(STAGES["alignment"])


BACKBONE_ALONE = {"stages.alignment.rounds": 0, "stages.routing.rounds": 0}


def test_stages_without_rounds_are_left_out(federate: Federate, small_config: Configure) -> None:
    assert list(run_stages(federate, small_config(BACKBONE_ALONE))) == ["backbone"]


def test_routing_starts_without_alignment_only_by_force(
    federate: Federate, small_config: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ConfigError, match="experts that were never aligned"):
        small_config({"stages.alignment.rounds": 0})
    forced = {"stages.alignment.rounds": 0, "stages.force": True}
    config = small_config(forced)

    results = run_stages(federate, config)

    assert {name: part["skipped"] for name, part in results.items()} == {
        "backbone": [],
        "routing": ["alignment"],
    }
    routing, backbone = checkpoint(config, "routing").manifest, checkpoint(config, "backbone")
    assert (routing.skipped, routing.parent) == (["alignment"], backbone.manifest.fingerprint)
    assert "stage routing starts without alignment, by force" in caplog.text


def test_a_forced_stage_needs_a_trained_backbone_too(
    federate: Federate, small_config: Configure
) -> None:
    config = small_config({"stages.alignment.rounds": 0, "stages.force": True})
    runner, _ = federate(config)
    runner.run(STAGES["backbone"])
    resave(config, "backbone", untrained(runner, config, "backbone"))
    with pytest.raises(CheckpointError, match="'backbone' is as it was initialised"):
        runner.run(STAGES["routing"])


@pytest.mark.parametrize(("gate", "transport"), [("frozen", "float32"), ("none", "int8")])
def test_all_stages_run_with_a_gate_that_does_not_learn(
    federate: Federate, small_config: Configure, gate: str, transport: str
) -> None:
    config = small_config({"model.gate": gate, "federation.transport": transport})
    results = run_stages(federate, config)
    assert list(results) == list(STAGES)
    for stage in STAGES:
        held = checkpoint(config, stage)
        assert "gate" not in held.arrays and "gate" not in held.manifest.trained
    assert all(line["gate"] is None and not line["warnings"] for line in metrics_lines(config))


def test_without_a_memory_all_that_the_experts_bring_is_nothing(
    federate: Federate, small_config: Configure
) -> None:
    forced = {"stages.alignment.rounds": 0, "stages.force": True}
    config = small_config({**forced, "memory.short_term": 0, "memory.long_term": 0})
    run_stages(federate, config)
    before, after = (by_group(checkpoint(config, s).arrays) for s in ("backbone", "routing"))
    for group in before:
        moved = any(not np.array_equal(before[group][n], after[group][n]) for n in before[group])
        assert moved == (group == "backbone"), group


# ----------------------------------------------------------------------------------------- resume


def kill_before(grid: Any, stage: str, number: int, kind: str) -> None:
    """End the process, as it were, when messages of that round are about to be sent."""

    def before(messages: list[Message]) -> None:
        for message in messages:
            about = message.content[wire.CONFIG]
            found = (about.get(wire.STAGE), about.get(wire.ROUND), message.metadata.message_type)
            if found == (stage, number, kind):
                raise Killed

    grid.before = before


def killed_and_resumed(
    federate: Federate, small_config: Configure, changes: dict[str, Any], *kills: Any
) -> tuple[Config, dict[str, Any]]:
    """Run, be killed before (stage, round, kind of message), resume; and so on, to the end of the
    last stage that is killed."""
    stages = list(STAGES.values())[: 1 + list(STAGES).index(kills[-1][0])]
    config = small_config(changes)
    for kill in kills:
        runner, grid = federate(config, 2)
        kill_before(grid, *kill)
        with pytest.raises(Killed):
            for stage in stages:
                runner.run(stage)
        config = small_config(changes, run={"resume": True})
    runner, _ = federate(config, 2)
    for stage in stages:
        runner.run(stage)
    return config, runner.results


ROUNDS = {"backbone": 6, "alignment": 4, "routing": 4}
LONGER: dict[str, Any] = {
    **{f"stages.{name}.rounds": count for name, count in ROUNDS.items()},
    "evaluation.every": 2,
    "federation.users_per_round": 7,
}
_UNBROKEN: dict[str, Any] = {}


@pytest.fixture
def unbroken(
    federate: Federate, small_config: Configure, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Config, dict[str, Any]]:
    """Six rounds of the backbone and four of the others, saved every second round; run once."""
    if not _UNBROKEN:
        out = tmp_path_factory.mktemp("unbroken") / "run"
        config = small_config({**LONGER, "run.out": str(out)})
        _UNBROKEN.update(config=config, results=run_stages(federate, config))
    return _UNBROKEN["config"], _UNBROKEN["results"]


KILLS = {
    "in a round": [("backbone", 4, "train")],
    "between training and validation": [("backbone", 4, "evaluate")],
    "before anything was saved": [("backbone", 1, "train")],
    "twice in one stage": [("backbone", 3, "train"), ("backbone", 6, "evaluate")],
    "at the boundary of stages": [("alignment", 1, "train")],
    "in every stage": [
        ("backbone", 3, "train"),
        ("alignment", 2, "train"),
        ("routing", 4, "train"),
    ],
}


@pytest.mark.parametrize("kills", KILLS.values(), ids=KILLS.keys())
def test_a_resumed_run_ends_bit_by_bit_as_an_unbroken_one(
    federate: Federate, small_config: Configure, unbroken: Any, kills: list[Any]
) -> None:
    whole, expected = unbroken

    config, results = killed_and_resumed(federate, small_config, LONGER, *kills)

    for name, result in results.items():
        assert_same_arrays(checkpoint(config, name).arrays, checkpoint(whole, name).arrays)
        for key in ("rounds", "best_round", "validation", "test"):
            assert result[key] == expected[name][key]
    told = [(line["stage"], line["round"]) for line in metrics_lines(config)]
    assert told == [(name, n) for name in results for n in range(1, ROUNDS[name] + 1)]
    for ours, theirs in zip(metrics_lines(config), metrics_lines(whole), strict=False):
        for key in ("loss", "validation", "gate", "update_norms", "users", "refused"):
            assert ours[key] == theirs[key]


@pytest.mark.parametrize("optimizer", ["fedavgm", "fedyogi"])
def test_other_optimisers_resume_bit_by_bit(
    federate: Federate, small_config: Configure, tmp_path: Path, optimizer: str
) -> None:
    """In a stage that starts from a checkpoint, whose arrays come back in another order, which
    moments without names must survive."""
    changes = {"federation.optimizer": optimizer, "stages.alignment.rounds": 4}
    changes |= {"stages.backbone.rounds": 1, "stages.routing.rounds": 0}
    unbroken = small_config({**changes, "run.out": str(tmp_path / "unbroken")})
    run_stages(federate, unbroken)

    config, _ = killed_and_resumed(federate, small_config, changes, ("alignment", 3, "train"))

    assert_same_arrays(
        checkpoint(config, "alignment").arrays, checkpoint(unbroken, "alignment").arrays
    )


def test_a_stage_that_stopped_early_is_not_trained_on_after_a_resume(
    federate: Federate, small_config: Configure
) -> None:
    """Killed before the test of a stage whose patience had run out: only the test is left."""
    changes = {"stages.backbone.rounds": 50, "stages.backbone.patience": 2}
    changes |= {"stages.backbone.learning_rate": 1e-12, "evaluation.every": 1}
    config = small_config(changes)
    runner, grid = federate(config)

    def before(messages: list[Message]) -> None:
        if messages and messages[0].content[wire.CONFIG].get(wire.SPLIT) == "test":
            raise Killed

    grid.before = before
    with pytest.raises(Killed):
        runner.run(STAGES["backbone"])

    resumed, second = federate(small_config(changes, run={"resume": True}))
    resumed.run(STAGES["backbone"])

    assert resumed.results["backbone"]["rounds"] == 3
    assert [m.metadata.message_type for m in second.sent] == ["query"] * 3 + ["evaluate"] * 3
    assert [line["round"] for line in metrics_lines(config)] == [1, 2, 3]


def test_a_stage_that_has_ended_is_left_alone_after_a_resume(
    federate: Federate, small_config: Configure
) -> None:
    config = small_config()
    first, _ = federate(config)
    first.run(STAGES["backbone"])

    second, grid = federate(small_config(run={"resume": True}))
    second.run(STAGES["backbone"])

    assert second.results == first.results
    assert {m.metadata.message_type for m in grid.sent} == {"query"}
    assert len(metrics_lines(config)) == 2


def test_a_run_that_was_killed_while_writing_a_line_resumes(
    federate: Federate, small_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"stages.backbone.rounds": 4}
    config = small_config(changes)
    runner, _ = federate(config)
    whole_line = RunFolder.append_round

    def half_a_line(folder: RunFolder, report: RoundReport) -> None:
        whole_line(folder, report)
        if report.round == 3:
            folder.metrics.write_bytes(folder.metrics.read_bytes()[:-40])
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(RunFolder, "append_round", half_a_line)
        runner.run(STAGES["backbone"])

    resumed, _ = federate(small_config(changes, run={"resume": True}))
    resumed.run(STAGES["backbone"])

    assert [line["round"] for line in metrics_lines(config)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("moves", "reason"),
    [("item_embedding.weight", "other frozen groups"), ("gate", "began from checkpoint")],
)
def test_a_state_on_another_parent_is_not_resumed(
    federate: Federate, small_config: Configure, moves: str, reason: str
) -> None:
    """The gate trains in alignment, so the frozen groups are the same."""
    config = small_config({"stages.alignment.rounds": 4})
    runner, grid = federate(config)
    runner.run(STAGES["backbone"])
    kill_before(grid, "alignment", 3, "train")
    with pytest.raises(Killed):
        runner.run(STAGES["alignment"])
    arrays = checkpoint(config, "backbone").arrays
    moved = {**arrays, moves: arrays[moves] + 1}
    resave(config, "backbone", moved)

    resumed, _ = federate(small_config({"stages.alignment.rounds": 4, "run.resume": True}))

    with pytest.raises(CheckpointError, match=reason):
        resumed.run(STAGES["alignment"])
