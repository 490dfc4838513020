"""What users keep stays on the node, and goes back to the best round with the model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict

from client.personal import KeptParts
from fedrec import wire
from fedrec.checkpoints import load_checkpoint
from fedrec.checkpoints.tensors import put_arrays
from fedrec.config import Config
from fedrec.data import PreparedData
from fedrec.evaluation.checkpoint import rank_checkpoint
from fedrec.evaluation.metrics import METRICS, metrics_from_sums, rank_sums
from fedrec.evaluation.ranks import PROTOCOLS
from fedrec.model.build import build_model
from fedrec.stages import STAGES
from fedrec.training.node import Node, load_modalities
from fedrec.training.personal_parts import PersonalParts
from server.transport import payload_bytes
from tests.loopback import best_is

Configure = Callable[..., Config]
Federate = Callable[..., Any]

PARTS = "embedding,gate,router"
KEEPS = {"personal.parts": PARTS, "personal.from_stage": "backbone", "personal.learning_rate": 0.5}


@pytest.fixture
def node(small_config: Configure) -> Node:
    config = small_config(KEEPS)
    data = PreparedData.load(config.run.data)
    return Node(data, range(data.num_users), config, load_modalities(data, config))


@pytest.fixture
def tell(node: Node, flower_identity: None) -> Callable[..., KeptParts]:
    """(stage, round, best, split) -> what the node's users keep by then."""
    context = Context(run_id=1, node_id=2, node_config={}, state=RecordDict(), run_config={})

    def tell(stage: str, number: int, best: int, split: str | None = None) -> KeptParts:
        about = {wire.STAGE: stage, wire.ROUND: number, wire.BEST: best}
        about |= {wire.SPLIT: split} if split else {}
        content = RecordDict({wire.CONFIG: ConfigRecord(about)})
        kind = "evaluate" if split else "train"
        return KeptParts(Message(content, dst_node_id=2, message_type=kind), context, node)

    return tell


def train(kept: KeptParts, node: Node, number: int) -> None:
    """User 3's gate becomes the round's number."""
    assert kept.now is not None
    model = small_model(node)
    users = np.array([3])
    rows = kept.now.rows(model, users)
    rows.values["gate"][:] = number
    kept.now.put(model, users, rows)
    kept.keep()


def gate(kept: KeptParts, node: Node) -> float:
    """User 3's."""
    assert kept.now is not None
    return float(kept.now.rows(small_model(node), np.array([3])).values["gate"])


def small_model(node: Node) -> Any:
    return build_model(
        node.config.model,
        num_items=24,
        feature_dims={"visual": 6, "semantic": 5},
        seed=node.config.run.seed,
    )


# --------------------------------------------------------------------------------- the best round


def test_the_test_is_of_what_was_kept_in_the_best_round(tell, node, caplog) -> None:
    """Rounds 1 to 4; round 2 was the best, which the node hears when round 3 begins."""
    for number, best in ((1, 0), (2, 1), (3, 2), (4, 2)):
        train(tell("routing", number, best), node, number)
    assert gate(tell("routing", 4, 2, "validation"), node) == 4
    assert gate(tell("routing", 4, 2, "test"), node) == 2
    assert not caplog.records


def test_a_node_that_rests_hears_it_when_it_is_asked_again(tell, node, caplog) -> None:
    train(tell("routing", 1, 0), node, 1)
    train(tell("routing", 9, 6), node, 9)  # it did not train from 2 to 8
    assert gate(tell("routing", 9, 6, "test"), node) == 1
    assert not caplog.records


def test_a_last_round_that_is_the_best_is_kept(tell, node) -> None:
    train(tell("routing", 1, 0), node, 1)
    tell("routing", 1, 0, "validation")
    assert gate(tell("routing", 1, 1, "test"), node) == 1


def test_without_any_better_round_there_is_what_the_stage_began_with(tell, node) -> None:
    train(tell("alignment", 1, 0), node, 1)
    train(tell("routing", 1, 0), node, 2)
    assert gate(tell("routing", 1, 0, "test"), node) == 0.0  # of alignment no round was best


def test_a_stage_begins_with_the_best_round_of_the_one_before(tell, node) -> None:
    for number, best in ((1, 0), (2, 1)):
        train(tell("alignment", number, best), node, number)
    assert gate(tell("routing", 1, 0), node) == 1
    assert gate(tell("routing", 1, 0, "test"), node) == 1


def test_a_node_that_heard_too_late_says_so_and_keeps_what_it_has(tell, node, caplog) -> None:
    train(tell("routing", 1, 0), node, 1)
    train(tell("routing", 3, 0), node, 3)
    with caplog.at_level(logging.WARNING):
        assert gate(tell("routing", 4, 2, "test"), node) == 3
        tell("routing", 4, 2, "test")
    assert [record.message for record in caplog.records] == [
        "this node did not hear in time that round 2 was the best; what its users keep of round 3 "
        "counts as that"
    ]


def test_a_node_without_its_state_begins_at_zero_and_says_so(tell, node, caplog) -> None:
    assert gate(tell("routing", 7, 5, "test"), node) == 0.0
    (record,) = caplog.records
    assert "they begin at zero again" in record.message


def test_a_training_that_fails_leaves_what_was_kept(tell, node) -> None:
    train(tell("routing", 1, 0), node, 1)
    tell("routing", 2, 1)  # and nothing is noted
    assert gate(tell("routing", 2, 1, "validation"), node) == 1


# --------------------------------------------------------------------------------------- whole runs


def run(federate: Federate, config: Config, nodes: int = 3) -> tuple[Any, Any]:
    runner, grid = federate(config, nodes)
    for stage in STAGES.values():
        runner.run(stage)
    return runner, grid


def test_nothing_of_it_is_in_any_reply(
    federate: Federate, small_config: Configure, tmp_path: Path
) -> None:
    """The replies of a whole run: the same records, names, shapes and sizes as where nobody keeps
    anything, and none of the kept numbers."""
    _, plain = run(federate, small_config(run={"out": str(tmp_path / "plain")}))
    _, grid = run(federate, small_config(KEEPS))

    kept = [
        value
        for context in grid.contexts.values()
        for record in ("personal", "personal-best")
        for name, array in context.state.array_records[record].items()
        if name.endswith("/values")
        for value in array.numpy().ravel().tolist()
        if value
    ]
    assert len(kept) > 100
    for theirs, ours in zip(plain.received, grid.received, strict=True):
        assert contents(theirs) == contents(ours)
        assert payload_bytes([theirs]) == payload_bytes([ours])
        for record in ours.content.array_records.values():
            for array in record.values():
                assert not np.isin(array.numpy(), np.float32(kept)).any()
        for record in ours.content.metric_records.values():
            assert not set(record.values()) & set(kept)


def contents(reply: Message) -> dict[str, Any]:
    """Names of everything in a reply, and the shapes of arrays."""
    found: dict[str, Any] = {}
    for name, record in reply.content.items():
        keys = {key: getattr(value, "shape", None) for key, value in record.items()}
        found[name] = keys
    return found


def test_nothing_is_kept_unless_asked_for(federate: Federate, small_config: Configure) -> None:
    _, grid = run(federate, small_config())
    for context in grid.contexts.values():
        assert not any(name.startswith("personal") for name in context.state)
    assert not any(wire.BEST in message.content[wire.CONFIG] for message in grid.sent)


def test_the_state_holds_now_and_the_best_of_those_who_trained(
    federate: Federate, small_config: Configure
) -> None:
    config = small_config(KEEPS, federation={"users_per_round": 6})
    _, grid = run(federate, config)
    for context in grid.contexts.values():
        names = {name for name in context.state if name.startswith("personal")}
        assert names == {"personal", "personal-best", "personal-about"}
        held = context.state.array_records["personal"]
        for part in PARTS.split(","):
            users = held[f"{part}/users"].numpy()
            assert len(users) < 14 and (np.diff(users) > 0).all()
            assert len(held[f"{part}/values"].numpy()) == len(users)


def parts_of(grid: Any) -> dict[int, dict[str, np.ndarray]]:
    """What every node holds now."""
    return {
        number: {name: array.numpy().copy() for name, array in record.items()}
        for number, context in grid.contexts.items()
        if (record := context.state.array_records.get("personal")) is not None
    }


def test_the_best_round_of_a_run_is_restored_on_every_node(
    federate: Federate, small_config: Configure
) -> None:
    """Nodes that say that round 2 of 4 was the best; what they keep must be that of round 2."""
    config = small_config({**KEEPS, "stages.backbone.rounds": 4})
    runner, grid = federate(config)
    after: dict[int, Any] = {}

    def note(messages: list[Message]) -> None:
        about = messages[0].content[wire.CONFIG] if messages else {}
        if about.get(wire.SPLIT) == "validation":
            after[about[wire.ROUND]] = parts_of(grid)

    grid.before, grid.tamper = note, best_is(2)
    runner.run(STAGES["backbone"])

    assert runner.results["backbone"]["best_round"] == 2
    found = parts_of(grid)
    for number, arrays in after[2].items():
        for name, value in arrays.items():
            np.testing.assert_array_equal(found[number][name], value)
    assert any(
        not np.array_equal(found[number]["embedding/values"], arrays["embedding/values"])
        for number, arrays in after[4].items()
    )


def test_a_test_is_of_the_model_with_what_users_keep_and_a_checkpoint_without(
    federate: Federate, small_config: Configure
) -> None:
    config = small_config(KEEPS)
    runner, grid = run(federate, config, 1)
    (context,) = grid.contexts.values()
    record = context.state.array_records["personal"]
    kept = PersonalParts.of_arrays(
        {name: array.numpy() for name, array in record.items()}, tuple(PARTS.split(",")), 0.5
    )
    held = load_checkpoint(Path(config.run.out) / "checkpoints/routing.safetensors")
    data = PreparedData.load(config.run.data)
    local = Node(data, range(data.num_users), config, load_modalities(data, config))
    model = small_model(local)
    put_arrays(model, held.arrays)

    own = local.rank(model, STAGES["routing"].active, "test", personal=kept)
    alone = rank_checkpoint(held, data, "test")

    tested = runner.results["routing"]["test"]
    for protocol in PROTOCOLS:
        central = metrics_from_sums(rank_sums(own), "test")[protocol]
        assert tested[protocol] == pytest.approx(central, abs=1e-12)
    shared = metrics_from_sums(rank_sums(alone), "test")
    assert any(
        tested[protocol][metric] != shared[protocol][metric]
        for protocol in PROTOCOLS
        for metric in METRICS
    )


def test_no_file_of_a_run_holds_it(federate: Federate, small_config: Configure) -> None:
    config = small_config(KEEPS)
    run(federate, config)
    for path in Path(config.run.out).rglob("*"):
        if path.suffix in (".json", ".jsonl", ".safetensors"):
            assert b"personal/" not in path.read_bytes()
            assert b"embedding/values" not in path.read_bytes()
    held = load_checkpoint(Path(config.run.out) / "checkpoints/routing.safetensors")
    assert held.arrays.keys() == dict(small_model_names(config)).keys()


def small_model_names(config: Config) -> list[tuple[str, Any]]:
    model = build_model(
        config.model, num_items=24, feature_dims={"visual": 6, "semantic": 5}, seed=0
    )
    return list(model.named_parameters())


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


@pytest.mark.parametrize("local_steps", [1, 2])
def test_how_users_are_dealt_makes_no_difference(
    federate: Federate, small_config: Configure, tmp_path: Path, local_steps: int
) -> None:
    results = []
    for nodes in (1, 14):
        config = small_config(
            {**KEEPS, "stages.backbone.rounds": 3},
            run={"out": str(tmp_path / str(nodes))},
            federation={"optimizer": "fedavg", "users_per_round": 6},
            training={"local_steps": local_steps},
        )
        runner, grid = federate(config, nodes)
        runner.run(STAGES["backbone"])
        users = {
            int(user): row
            for arrays in parts_of(grid).values()
            if "embedding/users" in arrays
            for user, row in zip(arrays["embedding/users"], arrays["embedding/values"], strict=True)
        }
        results.append(users)
    assert results[0].keys() == results[1].keys() and len(results[0]) > 6
    for user, row in results[0].items():
        np.testing.assert_allclose(results[1][user], row, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("transport", ["float16", "int8"])
def test_it_goes_with_every_transport(
    federate: Federate, small_config: Configure, transport: str
) -> None:
    config = small_config(KEEPS, federation={"transport": transport, "sparse_rows": True})
    runner, grid = run(federate, config, 2)
    assert not any(reply.has_error() for reply in grid.received)
    assert list(runner.results) == list(STAGES)
    assert all(parts_of(grid).values())
