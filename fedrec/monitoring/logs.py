"""Where log lines go and how they look: the one place that configures logging.

Two environment variables say it, so that every process that a launcher starts inherits it. Where
neither is set, as in a program of somebody's own that imports fedrec, apps configure nothing.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from fedrec.errors import ConfigError
from fedrec.monitoring.log_lines import HumanLines, JsonLines

FORMAT, LEVEL = "FEDREC_LOG", "FEDREC_LOG_LEVEL"


class LogFormat(StrEnum):
    """Values of FEDREC_LOG."""

    HUMAN = "human"
    JSON = "json"


class LogLevel(StrEnum):
    """Values of FEDREC_LOG_LEVEL; of fedrec's own lines, others' are shown from warnings on."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


_OURS = ("fedrec", "server", "client", "features")
_FLOWER = "flwr"  # has a handler of its own, and would be told twice
_COLOURS = {logging.WARNING: "yellow", logging.ERROR: "red"}
_Choice = TypeVar("_Choice", bound=StrEnum)


class _Stderr(logging.Handler):
    """Writes to what `sys.stderr` is when a line is made: Flower and tests exchange it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:
            self.handleError(record)


def configure_logs(
    environment: Mapping[str, str] = os.environ, *, default: LogFormat | None = None
) -> None:
    """Write this process's log lines to stderr as FEDREC_LOG and FEDREC_LOG_LEVEL say.

    Can be called again. default: where they say nothing; None = leave logging alone. Raises
    ConfigError for values that there are not.
    """
    chosen, level = _choice(LogFormat, FORMAT, environment), _choice(LogLevel, LEVEL, environment)
    chosen = chosen or default or (LogFormat.HUMAN if level else None)
    if chosen is None:
        return
    threshold = logging.getLevelName((level or LogLevel.INFO).upper())
    handler = _Stderr()
    handler.setFormatter(JsonLines() if chosen == LogFormat.JSON else HumanLines())
    root = logging.getLogger()
    for former in [one for one in root.handlers if isinstance(one, _Stderr)]:
        root.removeHandler(former)
    root.addHandler(handler)
    for name in _OURS:
        logging.getLogger(name).setLevel(threshold)
    flower = logging.getLogger(_FLOWER)
    flower.handlers.clear()
    flower.setLevel(max(threshold, logging.INFO))


def choose_logs(chosen: LogFormat | None, level: LogLevel | None) -> None:
    """Let this process and those that it starts log so; None leaves what the environment says."""
    os.environ.update({k: str(v) for k, v in ((FORMAT, chosen), (LEVEL, level)) if v is not None})
    configure_logs()


def logs_are_json() -> bool:
    """Whether a program reads what this process says."""
    return os.environ.get(FORMAT) == LogFormat.JSON


def announce(text: str, level: int = logging.INFO) -> None:
    """What a launcher tells: a line on the terminal, from warnings on coloured and on stderr; or a
    log line, where logs are JSON."""
    if logs_are_json():
        logging.getLogger("fedrec").log(level, text)
    else:
        import typer  # nodes, which log without it, start faster

        typer.secho(text, fg=_COLOURS.get(level), err=level >= logging.WARNING)


def _choice(kind: type[_Choice], key: str, environment: Mapping[str, str]) -> _Choice | None:
    value = environment.get(key)
    try:
        return None if value is None else kind(value)
    except ValueError:
        allowed = ", ".join(kind)
        raise ConfigError(f"{key} = {value!r}: expected one of {allowed}") from None
