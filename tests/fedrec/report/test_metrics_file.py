"""The rounds that a run appends, read while it does."""

import json
import os
from pathlib import Path
from typing import Any

from fedrec.report import MetricsFile


def line(number: int) -> str:
    return json.dumps({"stage": "backbone", "round": number, "rounds": 9}) + "\n"


def rounds(records: list[dict[str, Any]]) -> list[int]:
    return [record["round"] for record in records]


def test_lines_are_read_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path)
    assert metrics.new_records() == []
    path.write_text(line(1))
    assert rounds(metrics.new_records()) == [1]
    assert metrics.new_records() == []


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path)
    path.write_text(line(1) + line(2)[:20])
    assert rounds(metrics.new_records()) == [1]
    with path.open("a") as file:
        file.write(line(2)[20:])
    assert rounds(metrics.new_records()) == [2]


def test_rounds_of_an_earlier_run_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(line(1) + line(2))
    metrics = MetricsFile(path)
    path.write_text(line(1))  # resumed from round 1
    assert metrics.new_records() == []
    with path.open("a") as file:
        file.write(line(2))
    assert rounds(metrics.new_records()) == [2]
    assert metrics.restarts == 1


def replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


def test_another_file_of_the_same_size_is_noticed(tmp_path: Path) -> None:
    """Cutting writes a new file; the rounds after it may have made it as long as it was."""
    path = tmp_path / "metrics.jsonl"
    path.write_text(line(1) + line(2))
    metrics = MetricsFile(path, from_start=True)
    assert rounds(metrics.new_records()) == [1, 2]

    replace(path, line(1) + line(3))

    assert rounds(metrics.new_records()) == [1, 3]  # everything counts from the start
    assert metrics.restarts == 1


def test_damaged_lines_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path, from_start=True)
    path.write_bytes(line(1).encode() + b'{"stage": "back\n\xff\xfe\n[1]\n\n' + line(2).encode())
    assert rounds(metrics.new_records()) == [1, 2]
    assert metrics.unreadable == 3
