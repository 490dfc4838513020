"""Where log lines go, and who decides how they look."""

from __future__ import annotations

import json
import logging
import os

import pytest

from fedrec.errors import ConfigError
from fedrec.monitoring.logs import (
    FORMAT,
    LEVEL,
    LogFormat,
    LogLevel,
    announce,
    choose_logs,
    configure_logs,
)
from fedrec.processes import flower_environment

pytestmark = pytest.mark.usefixtures("logging_restored")
LOG = logging.getLogger("server.test")


def test_nothing_is_configured_where_nobody_asked(capsys: pytest.CaptureFixture[str]) -> None:
    before = list(logging.getLogger().handlers)
    configure_logs()
    assert logging.getLogger().handlers == before


def test_json_lines_on_stderr_once_each(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs({FORMAT: "json"})
    configure_logs({FORMAT: "json"})
    LOG.info("hello")
    LOG.debug("too much")
    logging.getLogger("httpx").info("somebody else's")
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert json.loads(line)["message"] == "hello"


@pytest.mark.parametrize(("level", "shown"), [("debug", 3), ("info", 2), ("error", 0)])
def test_a_level_is_of_our_own_lines(
    level: str, shown: int, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs({LEVEL: level})
    LOG.debug("one")
    LOG.info("two")
    LOG.warning("three")
    assert len(capsys.readouterr().err.splitlines()) == shown


def test_flower_is_told_once_and_as_everything_else(capsys: pytest.CaptureFixture[str]) -> None:
    flower = logging.getLogger("flwr")
    flower.addHandler(logging.StreamHandler())
    configure_logs({FORMAT: "json"})
    flower.info("a round of Flower's")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["logger"] == "flwr"


@pytest.mark.parametrize(("key", "value"), [(FORMAT, "xml"), (LEVEL, "loud")])
def test_other_values_are_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} = '{value}': expected one of"):
        configure_logs({key: value})


def test_what_a_launcher_chose_reaches_its_processes(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FORMAT, "human")
    monkeypatch.setenv(LEVEL, "info")
    choose_logs(LogFormat.JSON, LogLevel.DEBUG)
    started = flower_environment(tmp_path)  # type: ignore[arg-type]
    assert (started[FORMAT], started[LEVEL]) == ("json", "debug")


def test_the_apps_log_for_people_where_nobody_chose(tmp_path: object) -> None:
    assert flower_environment(tmp_path, base={})[FORMAT] == "human"  # type: ignore[arg-type]


def test_a_launcher_speaks_to_people_or_to_a_program(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    announce("joined")
    announce("careful", logging.WARNING)
    assert capsys.readouterr() == ("joined\n", "careful\n")
    monkeypatch.setenv(FORMAT, "json")
    configure_logs()
    announce("joined")
    printed = capsys.readouterr()
    assert printed.out == "" and json.loads(printed.err)["message"] == "joined"
    assert os.environ[FORMAT] == "json"
