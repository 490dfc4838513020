"""Rounds are read once, whole, and only those of this run."""

from pathlib import Path

from fedrec.report import MetricsFile


def test_lines_are_read_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path)
    assert metrics.new_records() == []
    path.write_text('{"round": 1}\n{"round": 2}\n')
    assert metrics.new_records() == [{"round": 1}, {"round": 2}]
    assert metrics.new_records() == []


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path)
    path.write_text('{"round": 1}\n{"rou')
    assert metrics.new_records() == [{"round": 1}]
    with path.open("a") as file:
        file.write('nd": 2}\n')
    assert metrics.new_records() == [{"round": 2}]


def test_rounds_of_an_earlier_run_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"round": 1}\n{"round": 2}\n')
    metrics = MetricsFile(path)
    path.write_text('{"round": 1}\n')  # resumed from round 1
    assert metrics.new_records() == []
    with path.open("a") as file:
        file.write('{"round": 2}\n')
    assert metrics.new_records() == [{"round": 2}]
