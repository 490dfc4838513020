from __future__ import annotations

import numpy as np
import pytest

from fedrec.checkpoints import fingerprint, group_fingerprints
from fedrec.checkpoints.tensors import by_group, model_arrays, put_arrays
from fedrec.errors import CheckpointError

ARRAYS = {
    "gate": np.array([1.0], dtype=np.float32),
    "router.a": np.zeros((2, 3), dtype=np.float32),
    "router.b": np.ones(2, dtype=np.float32),
}


def test_arrays_go_into_a_model_and_come_out_again(toy_config, toy_model, trained) -> None:
    model, arrays = toy_model(toy_config()), trained("routing")
    put_arrays(model, arrays)
    found = model_arrays(model)
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[name], value) for name, value in arrays.items())


def test_arrays_are_copies(toy_config, toy_model) -> None:
    model = toy_model(toy_config())
    arrays = model_arrays(model)
    arrays["gate"][:] = 77
    put_arrays(model, {"gate": np.array([5.0], dtype=np.float32)})
    assert model.gate.tolist() == [5.0] and float(arrays["gate"][0]) == 77


def test_some_arrays_leave_the_others_as_they_are(toy_config, toy_model) -> None:
    model = toy_model(toy_config())
    before = model_arrays(model)
    put_arrays(model, {"gate": np.array([5.0], dtype=np.float32)})
    after = model_arrays(model, ["gate", "fusion.query.weight"])
    assert list(after) == ["gate", "fusion.query.weight"]
    assert float(after["gate"][0]) == 5.0
    assert np.array_equal(after["fusion.query.weight"], before["fusion.query.weight"])


def test_an_array_that_the_model_does_not_have(toy_config, toy_model) -> None:
    with pytest.raises(CheckpointError, match="the model has no parameter 'gates'"):
        put_arrays(toy_model(toy_config()), {"gates": ARRAYS["gate"]})


def test_an_array_of_another_shape(toy_config, toy_model) -> None:
    with pytest.raises(CheckpointError, match=r"gate has shape \(2, 3\), the model \(1,\)"):
        put_arrays(toy_model(toy_config()), {"gate": ARRAYS["router.a"]})


def test_groups_are_the_first_part_of_the_name() -> None:
    parts = by_group(ARRAYS)
    assert {group: list(part) for group, part in parts.items()} == {
        "gate": ["gate"], "router": ["router.a", "router.b"],
    }  # fmt: skip


def test_a_fingerprint_follows_from_the_content_alone() -> None:
    shuffled = dict(reversed({name: value.copy() for name, value in ARRAYS.items()}.items()))
    assert fingerprint(shuffled) == fingerprint(ARRAYS)
    strided = {**ARRAYS, "router.a": np.zeros((3, 2), dtype=np.float32).T}
    assert fingerprint(strided) == fingerprint(ARRAYS)


@pytest.mark.parametrize(
    "change",
    [
        {"gate": np.array([1.0 + 2**-23], dtype=np.float32)},
        {"gate": np.array([1.0], dtype=np.float64)},
        {"router.a": np.zeros((3, 2), dtype=np.float32)},
        {"router.c": np.zeros(0, dtype=np.float32)},
    ],
)
def test_any_difference_changes_the_fingerprint(change) -> None:
    assert fingerprint({**ARRAYS, **change}) != fingerprint(ARRAYS)


def test_only_the_group_that_changed_has_another_fingerprint() -> None:
    before = group_fingerprints(ARRAYS)
    after = group_fingerprints({**ARRAYS, "gate": np.zeros(1, dtype=np.float32)})
    assert before["router"] == after["router"] and before["gate"] != after["gate"]
