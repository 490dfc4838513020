"""A run's state, broken in every way: refused by name, and no model is changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedrec.config import from_flat
from fedrec.data.sealed import read_sealed, write_sealed
from fedrec.errors import FedrecError
from fedrec.stages import STAGES
from server.attendance import Attendance
from server.federation import Federation, NodeInfo
from server.optimizers import build_strategy
from server.run_folder import RunFolder
from server.strategy import StageStrategy
from tests.broken import KINDS, break_file

pytestmark = pytest.mark.usefixtures("flower_identity")
WEIGHTS = np.array([[0.1, -0.2], [0.3, 0.4]], dtype=np.float32)


def strategy() -> StageStrategy:
    settings = from_flat({"federation.optimizer": "fedadam"})
    made = build_strategy(settings.federation)
    made.prepare(
        config=settings,
        stage=STAGES["backbone"],
        attendance=Attendance(Federation((NodeInfo(1, 0, 1, 2, "c", ()),))),
        arrays={"item_embedding.weight": WEIGHTS.copy()},
        frozen={"gate": np.array([0.1], dtype=np.float32)},
        on_round=lambda strategy, report: None,
        parent=None,
    )
    return made


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "run")
    made.begin(from_flat({"run.out": str(tmp_path / "run")}))
    saved = strategy()
    saved.arrays = {"item_embedding.weight": WEIGHTS + 1}
    saved.progress.round = 3
    made.save_state(saved)
    return made


def files(folder: RunFolder) -> list[Path]:
    return sorted(path for path in folder.checkpoints.iterdir() if path.name.startswith("state"))


def load(folder: RunFolder) -> StageStrategy:
    fresh = strategy()
    assert folder.load_state(fresh)
    return fresh


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_state(folder: RunFolder, kind: str) -> None:
    for path in files(folder):
        fresh = strategy()
        with break_file(path, kind):
            if kind == "missing" and path.name == "state.json":
                assert not folder.load_state(fresh)  # as in a run that has not saved any yet
            else:
                with pytest.raises(FedrecError, match=r"state[\w-]*\.(json|safetensors)"):
                    folder.load_state(fresh)
        np.testing.assert_array_equal(fresh.arrays["item_embedding.weight"], WEIGHTS)
        assert fresh.progress.round == 0
    assert load(folder).progress.round == 3


def test_any_bit_that_differs_is_found(folder: RunFolder) -> None:
    for path in files(folder):
        sound = path.read_bytes()
        for at in range(0, len(sound), 3):
            changed = bytearray(sound)
            changed[at] ^= 1 << (at % 8)
            path.write_bytes(changed)
            with pytest.raises(FedrecError, match="state"):
                folder.load_state(strategy())
        path.write_bytes(sound)
    load(folder)


@pytest.mark.parametrize("name", ["../../elsewhere.safetensors", "/etc/passwd"])
def test_a_state_that_names_a_file_elsewhere(folder: RunFolder, name: str) -> None:
    state = folder.checkpoints / "state.json"
    write_sealed(state, {**read_sealed(state), "tensors": name})
    inside = folder.checkpoints / Path(name).name
    with pytest.raises(FedrecError, match=f"no checkpoint {inside}"):
        folder.load_state(strategy())
