"""A SuperLink that many nodes keep busy is not one that has ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from flwr.proto.control_pb2 import StreamLogsRequest, StreamLogsResponse

from server import launch_watch
from server.launch_control import Control
from server.launch_status import StatusFile
from server.launch_watch import Outcome

RUNNING: Any = SimpleNamespace(process=SimpleNamespace(poll=lambda: None))
ENDED: Any = SimpleNamespace(ended=True)


class Streams:
    """A SuperLink's streams of logs: lines by their times, and what breaks them off."""

    def __init__(self, *streams: list[float | Exception]) -> None:
        self.left, self.asked = list(streams), list[float]()

    def StreamLogs(self, request: StreamLogsRequest) -> Iterator[StreamLogsResponse]:
        self.asked.append(request.after_timestamp)
        for event in self.left.pop(0):
            if isinstance(event, Exception):
                raise event
            yield StreamLogsResponse(log_output=f"line {event:g}", latest_timestamp=event)


def logs(streams: Streams) -> list[str]:
    control = Control("127.0.0.1:1")
    control._client = streams  # type: ignore[assignment]
    return list(control.logs(1))


def test_a_stream_of_logs_that_times_out_goes_on_after_its_last_line() -> None:
    slow = httpx.ReadTimeout("timed out")
    streams = Streams([slow], [1.0, 2.0, slow], [3.0])

    assert logs(streams) == ["line 1", "line 2", "line 3"]
    assert streams.asked == [0.0, 0.0, 2.0]


def test_a_stream_of_logs_ends_with_its_superlink() -> None:
    assert logs(Streams([1.0, httpx.ConnectError("refused")])) == ["line 1"]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (httpx.ReadTimeout("timed out"), None),
        (
            httpx.ConnectError("refused"),
            Outcome(error="the SuperLink does not answer: refused", killed=True),
        ),
    ],
)
def test_a_busy_superlink_is_not_dead(
    tmp_path: Path, error: Exception, outcome: Outcome | None
) -> None:
    class Busy:
        def state(self, run_id: int) -> None:
            raise error

    status = StatusFile(tmp_path / "status.json")
    assert launch_watch._outcome(1, Busy(), RUNNING, status, ENDED) == outcome  # type: ignore[arg-type]
