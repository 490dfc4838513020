"""When something is due to be said."""

from fedrec.report.pace import Pace


def test_due_at_once_or_after_the_time_and_again_after_it() -> None:
    now = [10.0]
    soon = Pace(2.0, at_once=True, clock=lambda: now[0])
    later = Pace(2.0, at_once=False, clock=lambda: now[0])
    assert soon.due and not later.due
    soon.said()
    assert not soon.due
    now[0] = 12.0
    assert soon.due and later.due
