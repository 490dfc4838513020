"""`fedrec quality` from end to end: tables, JSON and picture, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fedrec.data import PreparedData
from fedrec.errors import ConfigError, DataError
from fedrec.quality.command import quality_command

WithFeatures = Callable[..., PreparedData]
Rows = NDArray[np.float64]


def test_tables_and_warnings_are_printed_and_the_folder_stays_as_it_is(
    with_features: WithFeatures,
    planted: Rows,
    noise: Rows,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    folder = with_features({"image": noise, "text": planted}).path
    before = sorted(folder.rglob("*"))
    quality_command(folder)
    printed = capsys.readouterr()
    for words in ("effective rank", "image, any", "text, same popularity", "rows shuffled"):
        assert words in printed.out
    assert "image + text" in printed.out and "300 users with a validation item" in printed.out
    assert printed.err.startswith("warning: image: no lift")
    assert sorted(folder.rglob("*")) == before


def test_numbers_go_to_the_json_file(
    with_features: WithFeatures, planted: Rows, tmp_path: Path
) -> None:
    quality_command(with_features({"[text]": planted}).path, json=tmp_path / "q.json", seed=5)
    written = json.loads((tmp_path / "q.json").read_text())
    assert written["seed"] == 5
    assert written["modalities"]["[text]"]["matched"]["found"] is True


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_a_picture_is_drawn_where_it_is_asked_for(
    with_features: WithFeatures, planted: Rows, tmp_path: Path, suffix: str, start: bytes
) -> None:
    absent = {"image": range(1, len(planted))}  # nothing to draw must not stop the drawing
    data = with_features({"image": planted, "text": planted}, absent)
    picture = tmp_path / f"quality.{suffix}"
    quality_command(data.path, picture=picture)
    assert picture.read_bytes().startswith(start)


def test_names_that_cannot_be_written_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--picture.*must end in \.pdf"):
        quality_command(tmp_path / "nowhere", picture=tmp_path / "quality.bmp")
    with pytest.raises(ConfigError, match=r"--json.*a folder that exists"):
        quality_command(tmp_path / "nowhere", json=tmp_path / "no" / "quality.json")


def test_damaged_features_are_refused_with_the_file(
    with_features: WithFeatures, planted: Rows
) -> None:
    folder = with_features({"text": planted}).path
    path = folder / "features" / "text.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"text\.safetensors"):
        quality_command(folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        quality_command(tmp_path / "nowhere")
