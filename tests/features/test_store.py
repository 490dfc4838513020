from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from features.segments import Batch
from features.specs import EncoderSpec
from features.store import Store, open_store, store_folder
from fedrec.errors import DataError

IDENTITY = {"modality": "text", "encoder": "e", "weights_sha256": "w", "dim": 2}
HEADER = {"dim": 2, "plan": "p", "versions": {"torch": "2.13"}}


def digest(number: int) -> bytes:
    return bytes([number]) * 16


def batch(index: int, *numbers: int) -> Batch:
    rows = np.array([[number, 1] for number in numbers], dtype=np.float16)
    digests = [*map(digest, numbers), digest(100 + index)]
    faults = {len(numbers): ("empty", f"{index}")}
    return Batch(index, digests, list(range(len(numbers))), rows, faults, [0])


def fill(store: Store, *batches: Batch, **header: object) -> None:
    store.claim(IDENTITY)
    assert store.resume(HEADER | header) is not None
    for one in batches:
        store.journal.append(one)


@pytest.fixture
def said() -> list[str]:
    return []


def test_rows_and_faults_by_content(tmp_path, said) -> None:
    with open_store(tmp_path, said.append) as store:
        assert not store.knows(digest(1))
        fill(store, batch(1, 3), batch(0, 1, 2))
        assert not store.knows(digest(1))  # what is in the journal is not finished
        store.finish()
    with open_store(tmp_path, said.append) as store:
        assert store.rows([digest(2), digest(3), digest(2)]).tolist() == [[2, 1], [3, 1], [2, 1]]
        assert store.knows(digest(101)) and store.fault(digest(101)) == ("empty", "1")
        assert store.fault(digest(1)) is None and store.is_first_frame(digest(1))
        assert not store.is_first_frame(digest(2))
        assert store.versions([digest(1)]) == {"torch": "2.13"}
        fill(store, batch(0, 9), versions={"torch": "2.12"})
        store.finish()
        assert store.versions([digest(1), digest(9)]) == {"torch": "2.12, 2.13"}
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["encoder.json", "rows-000001.bin", "rows-000002.bin"] and said == []


def test_the_same_plan_goes_on_another_finishes_what_there_is(tmp_path, said) -> None:
    with open_store(tmp_path, said.append) as store:
        fill(store, batch(5, 1))
    with open_store(tmp_path, said.append) as store:
        assert store.journalled() == {digest(1), digest(105)}
        assert store.resume(HEADER) == {5} and not store.knows(digest(1))
    with open_store(tmp_path, said.append) as store:
        assert store.resume(HEADER | {"plan": "another"}) is None and store.knows(digest(1))
        assert store.resume(HEADER | {"plan": "another"}) == set()


def test_a_flipped_bit_costs_its_file_and_no_other(tmp_path, said) -> None:
    with open_store(tmp_path, said.append) as store:
        for number in (1, 2):
            fill(store, batch(0, number))
            store.finish()
    path = tmp_path / "rows-000001.bin"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with open_store(tmp_path, said.append) as store:
        assert not store.knows(digest(1)) and store.knows(digest(2))
        assert len(said) == 1 and f"{path} is damaged and was set aside" in said[0]
        fill(store, batch(0, 1))
        store.finish()
    names = sorted(path.name for path in tmp_path.glob("rows*"))
    assert names == ["rows-000001.bin.damaged", "rows-000002.bin", "rows-000003.bin"]


def test_rows_of_two_encoders_are_never_mixed(tmp_path, said) -> None:
    with open_store(tmp_path, said.append) as store:
        fill(store, batch(0, 1))
        store.finish()
        store.claim(IDENTITY)
        with pytest.raises(DataError, match=r"weights_sha256 'w', .* now has 'v'; nothing was"):
            store.claim(IDENTITY | {"weights_sha256": "v"})


HOLD = """
import sys, time
from pathlib import Path
from features.store import open_store
with open_store(Path(sys.argv[1]), print):
    print("in", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize("kill", [True, False])
def test_one_process_at_a_time_and_a_killed_one_leaves_no_lock(tmp_path, said, kill) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path), "60" if kill else "0.5"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None and process.stdout.readline() == "in\n"
        if kill:
            process.kill()
            process.wait()
        with open_store(tmp_path, said.append):
            assert kill or said == [f"waiting: another process is writing to {tmp_path}"]


def test_a_folder_that_cannot_be_made(tmp_path, said) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(DataError, match="cannot be opened"),
        open_store(tmp_path / "file" / "s", said.append),
    ):
        pass


def test_every_encoder_has_a_folder_of_its_own(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("FEDREC_CACHE", str(tmp_path))
    images = EncoderSpec(modality="image", kind="open_clip", model="M", weights="w", path=None)
    texts = EncoderSpec(modality="text", kind="open_clip", model="M", weights="w", path=None)
    folders = {store_folder(*key) for key in ((images, None), (texts, None), (texts, "ab"))}
    assert len(folders) == 3
    assert all(f.parent == tmp_path / "embeddings" and f.name.startswith("M-w-") for f in folders)
