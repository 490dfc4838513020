"""One round as text."""

import pytest

from fedrec.report.round_line import metric, round_line
from fedrec.report.units import in_bytes, in_digits, in_time

ROUND = {
    "stage": "backbone",
    "round": 12,
    "rounds": 300,
    "loss": 4.1,
    "gate": 0.1,
    "users_per_s": 412.4,
    "bytes_up": 1_200_000,
    "bytes_down": 3400,
    "remaining_s": 75.0,
}


def test_everything_is_on_the_line() -> None:
    assert round_line(ROUND, {"full": {"ndcg@10": 0.08125}}) == (
        "backbone 12/300  loss 4.1000  val NDCG@10 0.0813  gate 0.100  412 users/s  "
        "up 1.2 MB  down 3.4 kB  1 min 15 s left"
    )


def test_what_is_unknown_is_a_dash() -> None:
    line = round_line({"stage": "backbone", "round": 1, "rounds": 3}, None)
    assert line == (
        "backbone 1/3  loss -  val NDCG@10 -  gate -  - users/s  up 0 B  down 0 B  - left"
    )


@pytest.mark.parametrize(
    ("name", "value"), [("full/ndcg@10", 0.5), ("full/hr@10", None), ("sampled100/hr@10", None)]
)
def test_metric_by_name(name: str, value: float | None) -> None:
    assert metric({"full": {"ndcg@10": 0.5}}, name) == value


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e9, "2.5 GB")]
)
def test_bytes(count: float, text: str) -> None:
    assert in_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.4, "0 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"), (7260, "2 h 01 min")],
)
def test_time(seconds: float | None, text: str) -> None:
    assert in_time(seconds) == text


def test_digits() -> None:
    assert in_digits(0.12345) == "0.1235"
