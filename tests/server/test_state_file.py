"""What is written piece by piece is what the safetensors library reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy
from safetensors.numpy import load, save

from fedrec.checkpoints.tensors import read_tensors
from server.state_file import write_tensors

ARRAYS = st.sampled_from([np.float32, np.float64, np.int32]).flatmap(
    lambda kind: hypothesis_numpy.arrays(
        kind, hypothesis_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    )
)


@given(st.dictionaries(st.text(min_size=1, max_size=9), ARRAYS, max_size=5))
def test_the_library_reads_it(
    tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, np.ndarray]
) -> None:
    path = tmp_path_factory.mktemp("state") / "state.safetensors"

    write_tensors(path, arrays)

    found = read_tensors(path)
    assert found.keys() == arrays.keys()
    for name, value in load(save(arrays)).items() if arrays else ():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        assert found[name].tobytes() == value.tobytes()


def test_arrays_need_not_be_contiguous(tmp_path: Path) -> None:
    value = np.arange(12, dtype=np.float32).reshape(3, 4).T

    write_tensors(tmp_path / "a.safetensors", {"a": value, "b": np.float64(2.5) * np.ones(())})

    found = read_tensors(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(found["a"], value)
    assert found["b"] == 2.5
