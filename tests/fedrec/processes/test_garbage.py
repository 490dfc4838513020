"""What a process leaves out of the search for circles."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from fedrec.processes.garbage import spare_what_is_there


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_what_is_there_is_not_looked_at_again() -> None:
    held = [["held"]]

    spare_what_is_there()

    assert not any(found is held for found in gc.get_objects())
    assert gc.get_freeze_count() > len(sys.modules)


def test_what_comes_later_is_still_freed() -> None:
    spare_what_is_there()
    count = gc.get_freeze_count()
    circle: list[object] = []
    circle.append(circle)
    del circle

    spare_what_is_there()

    assert gc.collect() >= 1
    assert gc.get_freeze_count() <= count
