from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fedrec.data.atomic import new_folder, write_atomically, write_json
from fedrec.errors import DataError


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "a"
    write_atomically(path, lambda stream: stream.write(b"old"))

    def fail(stream) -> None:
        stream.write(b"half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old" and names(tmp_path) == ["a"]


def test_json_has_no_nan(tmp_path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert names(tmp_path) == []


def test_a_folder_appears_when_it_is_complete(tmp_path) -> None:
    with new_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("x")
        assert not (tmp_path / "out").exists()
    assert names(tmp_path) == ["out"] and names(tmp_path / "out") == ["a"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_folder_leaves_nothing(tmp_path, error) -> None:
    with pytest.raises(error), new_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("x")
        raise error
    assert names(tmp_path) == []


def test_replacing(tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("x")
    with pytest.raises(DataError, match="nothing was replaced"), new_folder(tmp_path / "out"):
        pass
    assert names(tmp_path / "out") == ["old"]
    with new_folder(tmp_path / "out", replace=True) as folder:
        (folder / "new").write_text("x")
    assert names(tmp_path) == ["out"] and names(tmp_path / "out") == ["new"]


def test_what_a_killed_process_left_is_removed(tmp_path) -> None:
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1)
    dead = int(done.stdout)
    for name in (f".out.partial-{dead}", f".out.partial-{os.getppid()}", f".other.partial-{dead}"):
        (tmp_path / name).mkdir()
    with new_folder(tmp_path / "out"):
        pass
    others = [f".out.partial-{os.getppid()}", f".other.partial-{dead}"]
    assert names(tmp_path) == sorted([*others, "out"])
