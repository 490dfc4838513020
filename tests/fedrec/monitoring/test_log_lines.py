"""How a log record looks, and what it cannot do."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from threading import Thread

import pytest

from fedrec.monitoring.log_context import go_on_with, log_context
from fedrec.monitoring.log_lines import HumanLines, JsonLines

AT = 1_800_000_000.25


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    """Whatever a run in this process has left."""
    with log_context(run=None, stage=None, round=None, node=None):
        yield


def record(message: str, *values: object, **about: object) -> logging.LogRecord:
    made = logging.LogRecord("server.exchange", logging.WARNING, "f.py", 1, message, values, None)
    made.created = AT
    vars(made).update(about)
    return made


def failed(text: str) -> logging.LogRecord:
    made = record("training failed")
    try:
        raise ValueError(text)
    except ValueError:
        made.exc_info = sys.exc_info()
    return made


def test_a_line_for_people() -> None:
    with log_context(run="default", stage="backbone", round=3):
        line = HumanLines().format(record("node %d refused", 12, node=12))
    assert line == (
        "2027-01-15T08:00:00.250Z WARNING server.exchange "
        "[run default, stage backbone, round 3, node 12] node 12 refused"
    )


def test_a_line_of_json_has_every_field_always() -> None:
    assert json.loads(JsonLines().format(record("hello"))) == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "WARNING",
        "logger": "server.exchange",
        "message": "hello",
        "run": None,
        "stage": None,
        "round": None,
        "node": None,
    }


def test_what_a_line_is_about_ends_with_its_block() -> None:
    def about() -> list[object]:
        content = json.loads(JsonLines().format(record("")))
        return [content[name] for name in ("run", "stage", "round")]

    with log_context(run="default"):
        go_on_with(stage="backbone", round=1)
        with log_context(stage="routing"):
            assert about() == ["default", "routing", 1]
        assert about() == ["default", "backbone", 1]
        elsewhere: list[list[object]] = []
        thread = Thread(target=lambda: elsewhere.append(about()))
        thread.start()
        thread.join()
        assert elsewhere == [[None, None, None]]  # a thread of another message
    assert about() == [None, None, None]


@pytest.mark.parametrize(
    "evil", ["a\nb", "a\r\x1b[2Jb", "a\u2028b", "a\u202eb", "a\x85b", "a\x9bb"]
)
def test_what_another_machine_sent_stays_on_its_line(evil: str) -> None:
    for lines in (HumanLines(), JsonLines()):
        with log_context(run=evil):
            line = lines.format(record("node 12 refused: %s", evil))
        assert line.isprintable()
        assert len(line.splitlines()) == 1


def test_a_traceback_is_one_field_or_indented_lines() -> None:
    content = json.loads(JsonLines().format(failed("no\nsuch")))
    assert content["traceback"].startswith("Traceback") and "no\nsuch" in content["traceback"]
    first, *rest = HumanLines().format(failed("no\x1bsuch")).splitlines()
    assert first.endswith("training failed")
    assert rest[0] == "    Traceback (most recent call last):"
    assert rest[-1] == r"    ValueError: no\x1bsuch"
