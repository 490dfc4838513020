"""Weight files: tensors and nothing that runs."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from features.weights import digest_weights, read_weights
from fedrec.errors import DataError


def test_both_formats_give_the_same_tensors(tmp_path: Path) -> None:
    weights = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}
    save_file(weights, tmp_path / "w.safetensors")
    torch.save({"state_dict": weights, "epoch": 3}, tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        found = read_weights(tmp_path / name)
        assert found.keys() == weights.keys()
        assert torch.equal(found["a"], weights["a"])


def test_a_pickle_that_would_run_something_is_refused_and_does_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]

    (tmp_path / "trap.pth").write_bytes(pickle.dumps({"a": Trap()}, protocol=2))
    torch.save({"a": Trap()}, tmp_path / "trap2.pth")
    for name in ("trap.pth", "trap2.pth"):
        with pytest.raises(DataError, match=name):
            read_weights(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=f"{name}: not a readable file of weights"):
        read_weights(tmp_path / name)


def test_what_is_no_tensor_is_named(tmp_path: Path) -> None:
    torch.save({"a": 3}, tmp_path / "w.pth")
    with pytest.raises(DataError, match="a is a int, expected a tensor"):
        read_weights(tmp_path / "w.pth")
    torch.save(torch.ones(2), tmp_path / "w.pth")
    with pytest.raises(DataError, match="expected tensors by name"):
        read_weights(tmp_path / "w.pth")


def test_the_checksum_follows_names_types_and_numbers_not_their_order() -> None:
    weights = {"a": torch.arange(3.0), "b": torch.tensor(1)}
    same = {"b": torch.tensor(1), "a": torch.arange(6.0)[:3]}
    assert digest_weights(weights) == digest_weights(same)
    others = (
        {**weights, "a": torch.tensor([0.0, 1.0, 2.5])},
        {**weights, "a": torch.arange(3.0).half()},
        {**weights, "a": torch.arange(3.0).reshape(1, 3)},
        {"c": weights["a"], "b": weights["b"]},
    )
    assert len({digest_weights(other) for other in (weights, *others)}) == 5
