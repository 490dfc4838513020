"""The model that a message is about is the model that is used, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict

from client import received, table_file
from client.held import Held
from client.node_cache import load_model
from client.received import current_model
from fedrec import wire
from fedrec.checkpoints import Arrays, fingerprint
from fedrec.checkpoints.tensors import by_group, model_arrays
from fedrec.config import Config
from fedrec.errors import FedrecError
from fedrec.transport import CODECS, encode_parts
from server.transport import to_record

pytestmark = pytest.mark.usefixtures("flower_identity")
Configure = Callable[..., Config]
TRAINED = ("item_embedding", "backbone")


@pytest.fixture
def untrained(context: Context) -> Arrays:
    return model_arrays(received.build_untrained(context))


def trained_part(arrays: Arrays) -> Arrays:
    return {name: value for name, value in arrays.items() if name.startswith(TRAINED)}


def message(model: Arrays, about: dict[str, str], **records: Any) -> Message:
    """About stage `backbone`; the frozen groups come along."""
    frozen = {name: value for name, value in model.items() if not name.startswith(TRAINED)}
    asked = {wire.STAGE: "backbone", wire.FROZEN_FINGERPRINT: fingerprint(frozen), **about}
    content = {wire.CONFIG: ConfigRecord(asked), wire.FROZEN: to_record(frozen), **records}
    return Message(RecordDict(content), dst_node_id=1, message_type="train")


def complete(arrays: Arrays) -> Any:
    return to_record(encode_parts(by_group(trained_part(arrays)), CODECS["float32"]))


def assert_holds(model: torch.nn.Module, arrays: Arrays) -> None:
    for name, value in model_arrays(model).items():
        np.testing.assert_array_equal(value, arrays[name], err_msg=name)


def test_a_message_may_bring_all_of_it(context: Context, untrained: Arrays) -> None:
    arrays = {name: value + 1 for name, value in untrained.items()}

    model = current_model(message(arrays, {wire.VERSION: "a/4"}, arrays=complete(arrays)), context)

    assert_holds(model, arrays)
    assert model is load_model(context)


def test_a_message_may_bring_nothing(context: Context, untrained: Arrays) -> None:
    arrays = {name: value + 1 for name, value in untrained.items()}
    current_model(message(arrays, {wire.VERSION: "a/4"}, arrays=complete(arrays)), context)
    other = {name: value + 2 for name, value in untrained.items()}
    load_model(context).load_state_dict({n: torch.from_numpy(v) for n, v in other.items()})

    model = current_model(message(arrays, {wire.VERSION: "a/4", wire.BASE: "a/4"}), context)

    assert_holds(model, arrays)


def test_changes_are_added_to_their_base(context: Context, untrained: Arrays) -> None:
    arrays = {name: value + 1 for name, value in untrained.items()}
    current_model(message(arrays, {wire.VERSION: "a/4"}, arrays=complete(arrays)), context)
    parts = by_group({n: np.full_like(v, 127.0) for n, v in trained_part(arrays).items()})
    change = to_record(encode_parts(parts, CODECS["int8"]))  # whole numbers: nothing is lost
    changes = {f"{wire.CHANGE}0": change, f"{wire.CHANGE}1": change}

    model = current_model(
        message(arrays, {wire.BASE: "a/4", wire.VERSION: "a/6"}, **changes), context
    )

    after = {
        name: value + np.float32(127) + np.float32(127)
        for name, value in trained_part(arrays).items()
    }
    assert_holds(model, {**arrays, **after})


def test_a_change_without_a_base_is_told(context: Context, untrained: Arrays) -> None:
    change = to_record(encode_parts(by_group(trained_part(untrained)), CODECS["int8"]))
    asked = message(untrained, {wire.VERSION: "a/6"}, **{f"{wire.CHANGE}0": change})

    with pytest.raises(FedrecError, match="without the one it builds on"):
        current_model(asked, context)


def test_rows_take_the_place_of_rows(context: Context, untrained: Arrays) -> None:
    about = {wire.INITIAL: fingerprint(trained_part(untrained)), wire.BASE: "a/0"}
    name, rows = "item_embedding.weight", np.array([3, 7], dtype=np.int32)
    backbone = {n: v + 1 for n, v in untrained.items() if n.startswith("backbone")}
    parts = by_group({name: np.ones((2, 12), dtype=np.float32), **backbone})
    sent = to_record({**encode_parts(parts, CODECS["float32"]), wire.ROWS: rows})

    model = current_model(message(untrained, {**about, wire.VERSION: "a/3"}, arrays=sent), context)

    table = untrained[name].copy()
    table[rows] = 1.0
    assert_holds(model, {**untrained, **backbone, name: table})


def test_the_untrained_model_is_built_where_it_is_wanted(
    context: Context, untrained: Arrays
) -> None:
    initial = fingerprint(trained_part(untrained))
    about = {wire.INITIAL: initial, wire.BASE: "a/0", wire.VERSION: "a/0"}
    load_model(context).item_embedding.weight.data.fill_(7.0)  # what an earlier message left

    assert_holds(current_model(message(untrained, about), context), untrained)


def test_another_untrained_model_is_told(context: Context, untrained: Arrays) -> None:
    about = {wire.INITIAL: "f" * 64, wire.BASE: "a/0", wire.VERSION: "a/0"}

    with pytest.raises(FedrecError, match="another untrained model"):
        current_model(message(untrained, about), context)


def test_a_large_table_is_the_models_weight_without_a_copy(
    context: Context, untrained: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_file, "LARGE_BYTES", 24 * 12 * 4)
    model = current_model(
        message(untrained, {wire.VERSION: "a/4"}, arrays=complete(untrained)), context
    )

    name = "item_embedding.weight"
    table = Held(context, wire.ARRAYS).read("a/4")[name]  # type: ignore[index]
    table[5] = 3.0

    assert model.item_embedding.weight[5].tolist() == [3.0] * 12


@pytest.mark.parametrize("base", ["a/3", "a/5", "b/4"])
def test_a_version_that_is_not_held_is_told_and_what_is_held_stays(
    context: Context, untrained: Arrays, base: str
) -> None:
    arrays = {name: value + 1 for name, value in untrained.items()}
    current_model(message(arrays, {wire.VERSION: "a/4"}, arrays=complete(arrays)), context)

    with pytest.raises(FedrecError, match=f"does not hold version {base}"):
        current_model(message(arrays, {wire.BASE: base, wire.VERSION: "a/6"}), context)

    again = message(arrays, {wire.VERSION: "a/4", wire.BASE: "a/4"})
    assert_holds(current_model(again, context), arrays)


def test_an_array_of_another_shape_is_told(context: Context, untrained: Arrays) -> None:
    asked = message(untrained, {}, arrays=to_record({"gate": np.zeros(2, dtype=np.float32)}))

    with pytest.raises(FedrecError, match=r"gate came with shape \(2,\), the model has \(1,\)"):
        current_model(asked, context)


def test_a_name_that_the_model_does_not_have_is_told(context: Context, untrained: Arrays) -> None:
    asked = message(untrained, {}, arrays=to_record({"audio": np.zeros(2, dtype=np.float32)}))

    with pytest.raises(FedrecError, match="no such parameter"):
        current_model(asked, context)
