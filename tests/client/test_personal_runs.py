"""What users keep in whole runs: it stays on the node and counts in the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from fedrec import wire
from fedrec.checkpoints import load_checkpoint
from fedrec.checkpoints.tensors import put_arrays
from fedrec.config import Config
from fedrec.data import PreparedData
from fedrec.evaluation.checkpoint import rank_checkpoint
from fedrec.evaluation.metrics import METRICS, metrics_from_sums, rank_sums
from fedrec.evaluation.ranks import PROTOCOLS
from fedrec.stages import STAGES
from fedrec.training.personal_parts import PersonalParts
from server.transport import payload_bytes
from tests.client.kept import KEEPS, PARTS, parts_of, run
from tests.loopback import best_is
from tests.whole import untrained_model, whole_node

Configure = Callable[..., Config]
Federate = Callable[..., Any]


def test_nothing_of_it_is_in_any_reply(
    federate: Federate, small_config: Configure, tmp_path: Path
) -> None:
    """The replies of a whole run: the same records, names, shapes and sizes as where nobody keeps
    anything, and none of the kept numbers."""
    seed = 1  # one of millions of pairs of float32 may be equal by chance; with this seed none is
    _, plain = run(federate, small_config(run={"out": str(tmp_path / "plain"), "seed": seed}))
    _, grid = run(federate, small_config(KEEPS, run={"seed": seed}))

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
    local, model = whole_node(config), untrained_model(config)
    put_arrays(model, held.arrays)

    own = local.rank(model, STAGES["routing"].active, "test", personal=kept)
    alone = rank_checkpoint(held, PreparedData.load(config.run.data), "test")

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
    assert held.arrays.keys() == dict(untrained_model(config).named_parameters()).keys()


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
