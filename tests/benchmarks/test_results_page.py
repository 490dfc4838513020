"""The page and the picture that a study's folder becomes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import quality_picture
import results_page
from fedrec.errors import ConfigError


def line(stage: str, number: int, ndcg: float | None) -> str:
    validation = None if ndcg is None else {"full": {"ndcg@10": ndcg}}
    return json.dumps({"stage": stage, "round": number, "validation": validation}) + "\n"


@pytest.fixture
def two_runs(tmp_path: Path) -> list[Path]:
    """The second seed's backbone stops a validation earlier."""
    texts = [
        line("backbone", 1, None) + line("backbone", 2, 0.1) + line("backbone", 4, 0.2)
        + line("alignment", 2, 0.3),
        line("backbone", 2, 0.3) + line("alignment", 2, 0.5),
    ]  # fmt: skip
    folders = [tmp_path / str(number) for number in range(2)]
    for folder, text in zip(folders, texts, strict=True):
        folder.mkdir()
        (folder / "metrics.jsonl").write_text(text)
    return folders


def test_a_stage_begins_where_the_longest_before_it_ended(two_runs: list[Path]) -> None:
    backbone, alignment = quality_picture.curves(two_runs)
    assert (backbone.stage, backbone.rounds.tolist()) == ("backbone", [2, 4])
    np.testing.assert_array_equal(backbone.values, [[0.1, 0.2], [0.3, np.nan]])
    assert (alignment.stage, alignment.rounds.tolist()) == ("alignment", [6])
    np.testing.assert_array_equal(alignment.values, [[0.3], [0.5]])


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_a_picture_of_the_same_numbers_has_the_same_bytes(
    two_runs: list[Path], tmp_path: Path, kind: str
) -> None:
    panels = {"shop": quality_picture.curves(two_runs)}
    paths = [tmp_path / f"{number}.{kind}" for number in range(2)]
    for path in paths:
        quality_picture.draw(panels, {"shop": {"item_knn": 0.2}}, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_only_what_stands_between_the_marks_of_a_data_set_is_replaced() -> None:
    page = results_page.with_part("# Results\n\nFirst words.\n", "shop", "old")
    page = results_page.with_part(page, "ward", "other") + "\nLast words.\n"
    again = results_page.with_part(page, "shop", "new")
    assert again == page.replace("old", "new")
    begin, end = (mark.format("shop") for mark in (results_page.BEGIN, results_page.END))
    assert again.startswith(f"# Results\n\nFirst words.\n\n{begin}\n\nnew\n\n{end}\n")
    with pytest.raises(ConfigError, match="only one of the marks"):
        results_page.with_part(begin, "shop", "new")


def test_the_page_has_tables_picture_conditions_and_every_run(
    finished_study: Path, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "docs" / "results.md"
    page.parent.mkdir()
    arguments = ["results_page.py", "--out", str(finished_study), "--page", str(page)]
    monkeypatch.setattr(sys, "argv", arguments)
    results_page.main()
    text = page.read_text()
    assert f"## {shop.name}\n\n| system (test) |" in text
    picture = f"quality-by-round-{shop.name}.svg"
    assert f"![Validation by round]({picture})" in text
    assert (page.parent / picture).read_bytes().startswith(b"<?xml")
    assert "python benchmarks/accuracy.py run.threads=1" in text
    assert f"--data {shop.name} --seeds 2\n" in text
    runs = text.split("### Each run")[1].splitlines()
    assert sum(row.startswith("| centralised |") for row in runs) == 2
    assert any("rate " in row and "epoch " in row for row in runs)
    results_page.main()
    assert page.read_text() == text


def test_a_folder_without_a_finished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run has finished"):
        results_page.finished(tmp_path)
