"""The end of a log."""

from pathlib import Path

from fedrec.processes import last_lines


def test_only_new_lines_without_colours_and_gaps(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n\x1b[92mINFO\x1b[0m: a\n\n  \nb\n")
    assert last_lines(log, start=4) == ["INFO: a", "b"]


def test_only_the_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"{number}\n" for number in range(100)))
    assert last_lines(log)[0] == "85"
    assert len(last_lines(log)) == 15
