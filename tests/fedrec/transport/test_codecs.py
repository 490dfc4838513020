"""What encoding may lose is bounded, what it must not lose stays, and bad bytes are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

from fedrec.transport import CODECS, Codec
from fedrec.transport.codecs import SCALES

LOSSY = ("float16", "int8")
VECTORS = hypothesis_numpy.arrays(
    np.float32,
    st.integers(0, 700),
    elements=st.floats(-1e4, 1e4, width=32),
    fill=st.just(0.0),
)


def over(codec: Codec, values: np.ndarray) -> np.ndarray:
    return codec.decode(codec.encode(values), len(values))


def scales_of(values: np.ndarray, block: int, largest: float) -> np.ndarray:
    """The scale that each value is divided by, found by trying them all."""
    found = np.empty(len(values), dtype=np.float32)
    for start in range(0, len(values), block):
        most = np.abs(values[start : start + block]).max()
        found[start : start + block] = next(s for s in SCALES if np.float32(largest) * s >= most)
    return found


def test_scales_are_powers_of_the_fourth_root_of_two() -> None:
    np.testing.assert_allclose(SCALES, 2.0 ** (np.arange(256) / 4 - 44), rtol=1e-7)
    assert (np.diff(SCALES) > 0).all()
    assert SCALES.dtype == np.float32


@given(VECTORS)
def test_float32_comes_back_bit_by_bit(values: np.ndarray) -> None:
    assert over(CODECS["float32"], values).tobytes() == values.tobytes()


@given(VECTORS)
def test_int8_errs_by_half_a_scale_at_most(values: np.ndarray) -> None:
    error = np.abs(over(CODECS["int8"], values) - values)

    bound = 0.5 * scales_of(values, 64, 127.0)
    assert (error <= bound * (1 + 1e-5)).all()


@given(VECTORS)
def test_float16_errs_in_the_eleventh_bit_at_most(values: np.ndarray) -> None:
    """And in the last of a denormal where a value is 2^-29 of its block's largest and less."""
    error = np.abs(over(CODECS["float16"], values) - values)

    bound = 2.0**-11 * np.abs(values) + 2.0**-25 * scales_of(values, 256, 32768.0)
    assert (error <= bound * (1 + 1e-3)).all()


@pytest.mark.parametrize("name", CODECS)
@given(values=VECTORS)
def test_zeros_stay_zeros_and_signs_stay_signs(name: str, values: np.ndarray) -> None:
    decoded = over(CODECS[name], values)

    assert decoded.dtype == np.float32
    assert decoded.shape == values.shape
    assert (decoded[values == 0] == 0).all()
    assert (decoded * values >= 0).all()


def test_int8_by_hand() -> None:
    """The largest is 127, so the scale is 1: code 4 * 44 = 176."""
    payload = CODECS["int8"].encode(np.array([127.0, -1.4, 0.6, 2.5, 0.0], dtype=np.float32))

    assert payload.view(np.int8).tolist() == [np.int8(176 - 256), 127, -1, 1, 2, 0]
    np.testing.assert_array_equal(CODECS["int8"].decode(payload, 5), [127, -1, 1, 2, 0])


def test_a_large_value_does_not_coarsen_other_blocks() -> None:
    values = np.full(128, 1e-3, dtype=np.float32)
    values[0] = 1e3

    decoded = over(CODECS["int8"], values)

    assert (decoded[1:64] == 0).all()
    np.testing.assert_allclose(decoded[64:], 1e-3, rtol=0.01)


@pytest.mark.parametrize(("name", "share"), [("float32", 1.0), ("float16", 0.501), ("int8", 0.254)])
def test_how_many_bytes(name: str, share: float) -> None:
    size = 3600 * 64

    assert len(CODECS[name].encode(np.ones(size, dtype=np.float32))) <= share * 4 * size


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(name: str, bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        CODECS[name].encode(np.array([1.0, bad], dtype=np.float32))


def test_values_beyond_the_largest_scale_are_refused() -> None:
    with pytest.raises(ValueError, match="a value of size 1e\\+30"):
        CODECS["int8"].encode(np.array([1e30], dtype=np.float32))


@pytest.mark.parametrize("name", LOSSY)
def test_values_below_the_smallest_scale_become_zero(name: str) -> None:
    assert over(CODECS[name], np.array([1e-30], dtype=np.float32))[0] == 0.0


@pytest.mark.parametrize("name", CODECS)
@given(content=st.binary(max_size=100), count=st.integers(0, 30))
def test_any_bytes_of_the_right_number_are_values_and_others_are_refused(
    name: str, content: bytes, count: int
) -> None:
    payload = np.frombuffer(content, dtype=np.uint8)
    right = len(CODECS[name].encode(np.zeros(count, dtype=np.float32)))

    if len(payload) == right:
        assert CODECS[name].decode(payload, count).shape == (count,)
    else:
        with pytest.raises(ValueError, match="the payload is"):
            CODECS[name].decode(payload, count)


@pytest.mark.parametrize("name", CODECS)
def test_a_payload_of_another_shape_or_type_is_refused(name: str) -> None:
    payload = CODECS[name].encode(np.zeros(4, dtype=np.float32))

    for wrong in (payload.reshape(1, -1), payload.astype(np.int32)):
        with pytest.raises(ValueError, match="expected uint8"):
            CODECS[name].decode(wrong, 4)


def test_int8_scales_are_never_negative_and_never_zero() -> None:
    """Whatever byte a stranger sends for a scale."""
    payload = np.concatenate([np.arange(256), np.ones(256 * 64)]).astype(np.uint8)

    decoded = CODECS["int8"].decode(payload, 256 * 64)

    assert (decoded > 0).all()
    assert np.isfinite(decoded).all()
