"""The rounds of a run as log lines, where a program reads what a launcher says."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Self

from fedrec.report.round_line import round_line

LOG = logging.getLogger(__name__)


class RoundLog:
    """Stands where `Live` stands for people: a line a round, and its warnings."""

    def __init__(self, message: str) -> None:
        """message: the first line."""
        self._message = message

    def __enter__(self) -> Self:
        LOG.info(self._message)
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to put away."""

    def show(self, record: Mapping[str, Any]) -> None:
        """Tell one round: an object of metrics.jsonl."""
        about = {"stage": record["stage"], "round": record["round"]}
        for warning in record.get("warnings") or ():
            LOG.warning(warning, extra=about)
        LOG.info(round_line(record, record.get("validation")), extra=about)
