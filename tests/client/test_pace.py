"""How long a node waits before it asks again."""

import pytest

from client.pace import BREAKS_KEPT, LONGEST_ASKING_S, LONGEST_S, SHORTEST_S, Pace


class Time:
    """A clock that only waiting moves on."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def pace(time: Time) -> Pace:
    return Pace(time, time.sleep)


def ask(pace: Pace, time: Time, seconds: float = 0.0) -> None:
    with pace.asking():
        time.now += seconds


def test_at_first_it_asks_often(pace: Pace, time: Time) -> None:
    pace.wait()
    assert time.waits == [SHORTEST_S]


def test_it_waits_a_fifth_of_the_time_it_has_been_idle(pace: Pace, time: Time) -> None:
    time.now += 4.0
    pace.wait()
    assert time.waits == [pytest.approx(0.8)]


def test_it_never_waits_longer_than_flower_would(pace: Pace, time: Time) -> None:
    time.now += 1e6
    pace.wait()
    assert time.waits == [LONGEST_S]


def test_work_begins_it_anew(pace: Pace, time: Time) -> None:
    time.now += 10.0
    pace.worked()
    pace.wait()
    assert time.waits == [SHORTEST_S]


def test_a_busy_server_is_asked_less_often(pace: Pace, time: Time) -> None:
    ask(pace, time, 0.4)
    pace.wait()
    assert time.waits == [pytest.approx(0.8)]


@pytest.mark.parametrize(("asking_s", "wait_s"), [(5.0, 10.0), (60.0, LONGEST_ASKING_S)])
def test_a_server_with_too_many_nodes_gets_time(
    pace: Pace, time: Time, asking_s: float, wait_s: float
) -> None:
    ask(pace, time, asking_s)
    pace.wait()
    assert time.waits == [pytest.approx(wait_s)]


def test_after_work_it_lets_half_of_the_shortest_break_pass(pace: Pace, time: Time) -> None:
    for idle_s in (2.0, 1.0, 3.0):
        time.now += idle_s
        pace.found()
        time.now += 0.7  # at work
        pace.worked()
    pace.wait()
    assert time.waits == [pytest.approx(0.5)]


def test_breaks_of_long_ago_do_not_count(pace: Pace, time: Time) -> None:
    for idle_s in [0.2] + BREAKS_KEPT * [2.0]:
        time.now += idle_s
        pace.found()
        pace.worked()
    pace.wait()
    assert time.waits == [pytest.approx(1.0)]


@pytest.mark.parametrize("break_s", [0.2, 1.0, 10.0])
def test_what_waiting_adds_is_a_part_of_the_break(pace: Pace, time: Time, break_s: float) -> None:
    ends = time.now + break_s
    asked = 0
    while time.now < ends:
        pace.wait()
        asked += 1
    assert time.now - ends <= max(SHORTEST_S, 0.2 * break_s)
    assert asked < 30
