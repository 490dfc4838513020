"""A termination signal as an exception."""

import os
import signal

import pytest

from fedrec.processes import stopped_by_exception


def test_sigterm_raises_inside_and_not_after() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left, stopped_by_exception():
        os.kill(os.getpid(), signal.SIGTERM)
    assert left.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
