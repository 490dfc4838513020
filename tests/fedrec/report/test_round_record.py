"""Whoever reads a line of metrics.jsonl may rely on its types."""

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.report.round_record import round_record
from server.progress import RoundReport

GOOD = asdict(RoundReport("backbone", 3, 9, loss=0.5, validation={"full": {"ndcg@10": 0.1}}))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def test_what_the_server_writes_is_a_round() -> None:
    assert round_record(json.dumps(GOOD).encode()) == GOOD


@pytest.mark.parametrize(
    "wrong",
    [
        {"stage": 5},
        {"round": -1},
        {"rounds": True},
        {"loss": float("nan")},
        {"seconds": float("inf")},
        {"bytes_up": 1.5},
        {"users": 2**80},
        {"group_bytes_up": {"backbone": "3"}},
        {"validation": {"full": 0.1}},
        {"validation": {"full": {"ndcg@10": None}}},
        {"warnings": "one"},
        {"silent_nodes": ["12"]},
    ],
)
def test_another_type_is_none(wrong: dict[str, Any]) -> None:
    assert round_record(json.dumps({**GOOD, **wrong}).encode()) is None


@pytest.mark.parametrize("text", [b"", b"3", b"[" * 100_000, b"\xff", b'{"stage": "a"}'])
def test_no_round_is_none(text: bytes) -> None:
    assert round_record(text) is None


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), JSON))
def test_no_values_break_it(values: dict[str, Any]) -> None:
    round_record(json.dumps({**GOOD, **values}).encode())
