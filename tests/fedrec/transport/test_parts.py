"""Groups as vectors: every shape comes back, and what does not fit is named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

from fedrec.transport import CODECS, decode_parts, encode_parts, shapes_of

EXACT = CODECS["float32"]
ARRAYS = hypothesis_numpy.arrays(
    np.float32,
    hypothesis_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    elements=st.floats(-100, 100, width=32),
)
NAMES = st.text("abc", min_size=1, max_size=3)
PARTS = st.dictionaries(NAMES, st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=3), max_size=3)


@given(PARTS)
def test_arrays_of_every_shape_come_back(parts: dict[str, dict[str, np.ndarray]]) -> None:
    prefixed = {g: {f"{g}.{n}": v for n, v in part.items()} for g, part in parts.items()}

    back = decode_parts(encode_parts(prefixed, EXACT), shapes_of(prefixed), EXACT)

    expected = {name: value for part in prefixed.values() for name, value in part.items()}
    assert list(back) == list(expected)
    for name, value in expected.items():
        assert back[name].shape == value.shape
        np.testing.assert_array_equal(back[name], value)


def test_the_order_of_names_makes_no_difference() -> None:
    part = {"g.b": np.array([1.0, 2.0], np.float32), "g.a": np.array([3.0], np.float32)}
    turned = dict(reversed(part.items()))

    ours, theirs = encode_parts({"g": part}, EXACT), encode_parts({"g": turned}, EXACT)

    assert ours["g"].tobytes() == theirs["g"].tobytes()
    np.testing.assert_array_equal(
        decode_parts(ours, shapes_of({"g": turned}), EXACT)["g.b"], [1.0, 2.0]
    )


def test_small_arrays_share_their_blocks() -> None:
    """64 biases of 4 values take 4 scales, not 64."""
    part = {f"g.{number}": np.ones(4, dtype=np.float32) for number in range(64)}

    assert len(encode_parts({"g": part}, CODECS["int8"])["g"]) == 256 + 4


@pytest.mark.parametrize("groups", [{}, {"g": 4, "h": 4}, {"h": 4}])
def test_other_groups_are_refused(groups: dict[str, int]) -> None:
    payloads = {name: np.zeros(size, dtype=np.uint8) for name, size in groups.items()}

    with pytest.raises(ValueError, match="groups differ"):
        decode_parts(payloads, {"g": {"g.a": (1,)}}, EXACT)


def test_a_group_of_another_size_is_named() -> None:
    with pytest.raises(ValueError, match=r"group 'g': the payload is uint8 \(5,\), .*\(4,\)"):
        decode_parts({"g": np.zeros(5, dtype=np.uint8)}, {"g": {"g.a": (1,)}}, EXACT)
