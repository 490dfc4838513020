"""A run's folder is free, or fit to resume, and belongs to one run at a time."""

from pathlib import Path

import pytest

from fedrec.config import Config, load_config, to_toml
from fedrec.errors import ConfigError, FedrecError
from server.launch_folder import run_folder


def config(out: Path, *settings: str) -> Config:
    return load_config(None, [f"out={out}", *settings])


def store(stored: Config) -> None:
    out = Path(stored.run.out)
    (out / "checkpoints").mkdir(parents=True)
    (out / "config.toml").write_text(to_toml(stored))


def test_a_new_folder_is_made_with_nothing_but_the_log(tmp_path: Path) -> None:
    with run_folder(config(tmp_path / "a" / "b"), force=False):
        pass
    assert [file.name for file in (tmp_path / "a" / "b").iterdir()] == ["flower.log"]


def test_a_folder_with_a_run_is_refused(tmp_path: Path) -> None:
    store(config(tmp_path))
    with pytest.raises(ConfigError, match=r"holds a run already.*--resume.*--force"):
        run_folder(config(tmp_path), force=False).__enter__()
    assert (tmp_path / "config.toml").exists()


def test_force_replaces_the_run_and_nothing_else(tmp_path: Path) -> None:
    store(config(tmp_path))
    (tmp_path / "notes.txt").touch()
    with run_folder(config(tmp_path), force=True):
        pass
    assert sorted(file.name for file in tmp_path.iterdir()) == ["flower.log", "notes.txt"]


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="must be a folder"):
        run_folder(config(tmp_path / "file"), force=False).__enter__()


def test_two_runs_cannot_share_a_folder(tmp_path: Path) -> None:
    with (
        run_folder(config(tmp_path), force=False),
        pytest.raises(FedrecError, match="another run"),
    ):
        run_folder(config(tmp_path), force=False).__enter__()
    with run_folder(config(tmp_path), force=False):
        pass


def test_resume_keeps_what_is_there(tmp_path: Path) -> None:
    store(config(tmp_path))
    with run_folder(config(tmp_path, "run.resume=true"), force=False):
        pass
    assert (tmp_path / "checkpoints").exists()


def test_resume_may_change_what_changes_no_result(tmp_path: Path) -> None:
    store(config(tmp_path, "run.threads=1"))
    with run_folder(config(tmp_path, "run.resume=true", "run.threads=2"), force=False):
        pass


def test_resume_names_every_key_that_differs(tmp_path: Path) -> None:
    store(config(tmp_path))
    changed = config(tmp_path, "run.resume=true", "seed=5", "model.dim=32")
    with pytest.raises(ConfigError, match=r"run\.seed was 0 and is now 5; model\.dim was 64"):
        run_folder(changed, force=False).__enter__()


def test_resume_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to resume"):
        run_folder(config(tmp_path, "run.resume=true"), force=False).__enter__()
