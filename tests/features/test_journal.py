from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from features.journal import Journal
from features.segments import Batch, read_segment
from fedrec.errors import DataError

HEADER = {"dim": 2, "plan": "p", "versions": {}}


def batch(index: int) -> Batch:
    rows = np.full((1, 2), index, dtype=np.float16)
    return Batch(index=index, digests=[bytes([index]) * 16], kept=[0], rows=rows)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "journal"


def opened(path: Path) -> tuple[Journal, list[str]]:
    said: list[str] = []
    return Journal(path, said.append), said


def test_batches_survive_without_an_end(path) -> None:
    journal, _ = opened(path)
    journal.begin(HEADER)
    journal.append(batch(1))
    journal.append(batch(0))
    journal.close()
    again, said = opened(path)
    assert again.header == HEADER and [b.index for b in again.batches] == [1, 0] and said == []


def test_a_torn_tail_is_cut_off_and_writing_goes_on(path, tmp_path) -> None:
    journal, _ = opened(path)
    journal.begin(HEADER)
    journal.append(batch(1))
    journal.close()
    with path.open("ab") as stream:
        stream.write(b"B\x99\x00\x00\x00torn")
    again, said = opened(path)
    assert len(said) == 1 and "cut off 9 bytes" in said[0]
    again.begin(HEADER)
    again.append(batch(2))
    assert again.finish(tmp_path / "finished") and not path.exists()
    segment = read_segment(tmp_path / "finished")
    assert segment is not None and segment.finished
    assert [b.index for b in segment.batches] == [1, 2]


def test_killed_between_the_end_and_the_name(path, tmp_path) -> None:
    journal, _ = opened(path)
    journal.begin(HEADER)
    journal.append(batch(1))
    journal.finish(path.with_name("named"))
    path.with_name("named").rename(path)
    again, said = opened(path)
    assert said == [] and [b.index for b in again.batches] == [1]
    assert again.finish(path.with_name("named"))
    segment = read_segment(path.with_name("named"))
    assert segment is not None and segment.finished and len(segment.batches) == 1


def test_a_journal_without_batches_leaves_nothing(path, tmp_path) -> None:
    journal, _ = opened(path)
    journal.begin(HEADER)
    assert not journal.finish(tmp_path / "finished")
    assert list(tmp_path.iterdir()) == []
    journal, _ = opened(path)
    assert not journal.finish(tmp_path / "finished")


def test_what_is_no_journal_is_begun_anew(path) -> None:
    path.write_bytes(b"fedrec rows 1\nH")
    journal, _ = opened(path)
    assert journal.header is None and not path.exists()


FULL_DISK = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_journal import HEADER, Journal, batch
from fedrec.errors import DataError
journal = Journal(Path(sys.argv[1]), print)
journal.begin(HEADER)
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
for index in range(100):
    try:
        journal.append(batch(index))
    except DataError as error:
        print(index, error)
        break
"""


def test_a_full_disk_keeps_what_was_written(path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    written = int(done.stdout.split()[0])
    assert "File too large" in done.stdout and "run the same command again" in done.stdout
    assert 0 < written < 10 and path.stat().st_size == 500
    again, said = opened(path)
    assert [b.index for b in again.batches] == list(range(written)) and "cut off" in said[0]


def test_a_folder_that_is_gone(tmp_path) -> None:
    journal, _ = opened(tmp_path / "gone" / "journal")
    with pytest.raises(DataError, match="cannot be written"):
        journal.begin(HEADER)
