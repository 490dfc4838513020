"""A stage's saved state survives a kill at any moment, or says clearly that it did not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedrec.data.sealed import read_sealed, write_sealed
from fedrec.errors import CheckpointError, FedrecError
from server import run_folder
from server.optimizers import moments
from server.run_folder import RunFolder
from server.strategy import StageStrategy
from server.strikes import Strikes
from tests.server.saved_runs import at_round, config, make

pytestmark = pytest.mark.usefixtures("flower_identity")


def assert_same(found: StageStrategy, expected: StageStrategy) -> None:
    assert found.progress == expected.progress
    assert found.first_round == expected.progress.round
    assert list(found.arrays) == list(found.best.arrays) == list(expected.arrays)
    pairs = [
        (found.arrays, expected.arrays),
        (found.best.arrays, expected.best.arrays),
        (moments(found), moments(expected)),
    ]
    for ours, theirs in pairs:
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert ours[name].dtype == value.dtype
            np.testing.assert_array_equal(ours[name], value)


# -------------------------------------------------------------------------------------------- state


def test_a_state_comes_back_with_progress_models_and_moments(folder: RunFolder) -> None:
    folder.save_state(at_round(3))
    fresh = make()

    assert folder.load_state(fresh)

    assert_same(fresh, at_round(3))


WAYS: list[dict[str, Any]] = [
    {"transport": "int8"},
    {"sparse_rows": True},
    {"transport": "float16", "sparse_rows": True},
]


@pytest.mark.parametrize("way", WAYS)
def test_a_state_holds_what_nodes_have_and_which_rows_changed(
    folder: RunFolder, way: dict[str, Any]
) -> None:
    """The best and the newest version, the copy that nodes hold, and each row's last change."""
    saved = make(**way)
    rows = np.array([1], dtype=np.int32) if saved.by_rows else None
    for _ in range(2):
        moved = {n: value + np.float32(0.1) for n, value in saved.arrays.items()}
        if rows is not None:
            moved["item_embedding.weight"] = saved.arrays["item_embedding.weight"]
            moved["item_embedding.weight"][rows] += np.float32(0.1)
        saved.arrays = moved
        saved.downlink.advance(moved, rows)
        saved.best.keep(saved.downlink)
        saved.best.version = 1
    saved.progress.round = 5  # three of them changed nothing
    folder.save_state(saved)
    fresh = make(**way)

    assert folder.load_state(fresh)

    assert (fresh.downlink.version, fresh.best.version) == (2, 1)
    for name, value in saved.downlink.held.items():
        np.testing.assert_array_equal(fresh.downlink.held[name], value)
        np.testing.assert_array_equal(fresh.best.arrays[name], saved.best.arrays[name])
        np.testing.assert_array_equal(fresh.arrays[name], saved.arrays[name])
    if rows is not None:
        assert fresh.downlink.changed is not None
        assert fresh.downlink.changed.tolist() == [0, 2]


@pytest.mark.parametrize("way", WAYS)
def test_a_state_may_be_gone_on_from_with_another_transport(
    folder: RunFolder, way: dict[str, Any]
) -> None:
    folder.save_state(at_round(3))
    fresh = make(**way)

    assert folder.load_state(fresh)

    for name, value in at_round(3).arrays.items():
        np.testing.assert_array_equal(fresh.downlink.held[name], value)
    if fresh.downlink.changed is not None:
        assert (fresh.downlink.changed == fresh.downlink.version).all()


def test_who_was_refused_is_known_after_a_resume_and_in_the_next_stage(folder: RunFolder) -> None:
    saved = at_round(3)
    node = saved.federation.nodes[0]
    for number in (1, 2, 3):
        saved.exchange.strikes.strike(
            node, stage="backbone", round_number=number, reason="values that are not finite"
        )
    folder.save_state(saved)
    strikes = Strikes(3)

    folder.load_strikes(strikes, saved.federation)

    assert strikes.out(node.node_id)
    assert strikes.left_out() == saved.exchange.strikes.left_out()


def test_refusals_that_nobody_saved_are_damage(folder: RunFolder) -> None:
    folder.save_state(at_round(3))
    path = folder.checkpoints / "state.json"
    write_sealed(path, {**read_sealed(path), "strikes": [{"hospital": 7}]})

    with pytest.raises(CheckpointError, match=r"state\.json is damaged"):
        folder.load_strikes(Strikes(3), at_round(3).federation)


def test_there_is_no_state_of_a_new_run_or_of_another_stage(folder: RunFolder) -> None:
    assert not folder.load_state(make())
    folder.save_state(at_round(3))
    assert not folder.load_state(make(stage="routing"))


def test_only_the_last_state_is_kept(folder: RunFolder) -> None:
    for number in (10, 20, 30):
        folder.save_state(at_round(number))

    assert len(list(folder.checkpoints.iterdir())) == 2
    fresh = make()
    folder.load_state(fresh)
    assert fresh.progress.round == 30


@pytest.mark.parametrize("rounds", [(10, 20), (3, 4), (7, 9)])
@pytest.mark.parametrize("step", ["write_tensors", "write_sealed", "forget"])
def test_a_kill_while_a_state_is_saved_leaves_the_one_before_or_this_one(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, rounds: tuple[int, int], step: str
) -> None:
    """Killed before each of the three steps of saving; before the last the new state counts."""
    folder.save_state(at_round(rounds[0]))

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(*((Path, "glob") if step == "forget" else (run_folder, step)), killed)
        folder.save_state(at_round(rounds[1]))

    fresh = make()
    assert folder.load_state(fresh)
    assert_same(fresh, at_round(rounds[1] if step == "forget" else rounds[0]))


def test_temporary_files_of_a_killed_process_do_not_matter_and_do_not_stay(
    folder: RunFolder,
) -> None:
    folder.save_state(at_round(3))
    for name in (".state.json.part-999", ".state-backbone-4.safetensors.part-999"):
        (folder.checkpoints / name).write_bytes(b"half")

    folder.begin(config(folder, resume=True))

    fresh = make()
    assert folder.load_state(fresh)
    assert_same(fresh, at_round(3))
    assert not [path for path in folder.checkpoints.iterdir() if ".part-" in path.name]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("which", "damage"),
    [
        ("state.json", cut),
        ("state.json", lambda path: path.write_bytes(b"\xff\xfe")),
        ("state.json", lambda path: path.write_text("[]")),
        ("state-*", cut),
        ("state-*", flip),
        ("state-*", Path.unlink),
        ("state-*", lambda path: path.write_bytes(b"")),
    ],
    ids=["cut json", "no text", "a list", "cut tensors", "one bit", "no tensors", "empty tensors"],
)
def test_a_damaged_state_is_told_by_its_path(
    folder: RunFolder, which: str, damage: Callable[[Path], object]
) -> None:
    folder.save_state(at_round(3))
    (path,) = folder.checkpoints.glob(which)
    damage(path)

    with pytest.raises(FedrecError, match=path.name):
        folder.load_state(make())


@pytest.mark.parametrize(
    "key", ["tensors", "progress", "fingerprint", "versions", "progress.round"]
)
def test_a_state_of_another_format_is_told(folder: RunFolder, key: str) -> None:
    folder.save_state(at_round(3))
    path = folder.checkpoints / "state.json"
    about = read_sealed(path)
    if key == "progress.round":
        about["progress"]["rounds_done"] = about["progress"].pop("round")
    else:
        del about[key]
    path.write_text(json.dumps(about))

    with pytest.raises(CheckpointError, match=r"state\.json is damaged"):
        folder.load_state(make())


def test_a_state_that_was_trained_on_another_parent_is_refused(folder: RunFolder) -> None:
    folder.save_state(at_round(3))
    foreign = {"gate": np.array([0.2], dtype=np.float32)}

    with pytest.raises(CheckpointError, match="other frozen groups"):
        folder.load_state(make(frozen=foreign))


def test_a_state_that_began_from_another_checkpoint_is_refused(folder: RunFolder) -> None:
    """The same frozen groups do not make the same parent."""
    folder.save_state(at_round(3, parent="a" * 64))

    with pytest.raises(CheckpointError, match=r"began from checkpoint a{12}, .* is now b{12}$"):
        folder.load_state(make(parent="b" * 64))
    assert folder.load_state(make(parent="a" * 64))
