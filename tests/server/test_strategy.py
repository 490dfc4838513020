"""One stage's rounds on hand-made replies: five numbers, and what must become of them."""

from __future__ import annotations

import io
import itertools
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from fedrec import wire
from fedrec.config import Config, from_flat
from fedrec.errors import FedrecError, RoundsFailed
from fedrec.evaluation.metrics import METRICS
from fedrec.evaluation.ranks import PROTOCOLS
from fedrec.stages import STAGES
from server import exchange
from server.attendance import Attendance
from server.federation import Federation, NodeInfo
from server.optimizers import OPTIMIZERS, build_strategy, moments
from server.progress import RoundReport, StageOver
from server.strategy import StageStrategy
from server.transport import from_record, to_record
from tests.loopback import answered

pytestmark = pytest.mark.usefixtures("flower_identity")

ARRAYS = {
    "item_embedding.weight": np.array([[0.1, -0.2], [0.3, 0.4]], dtype=np.float32),
    "backbone.scale": np.array([1.0], dtype=np.float32),
}
FROZEN = {"gate": np.array([0.1], dtype=np.float32), "router.w": np.ones(2, dtype=np.float32)}
NO_UPDATE = {name: np.zeros_like(value) for name, value in ARRAYS.items()}
HALF = {name: np.full_like(value, 0.5) for name, value in ARRAYS.items()}

FIRST_STEP = 0.7424594
"""FedAdam's first step on an update of any size that is far above tau: m = .1 d, sqrt(v) = .1 |d|,
and flwr corrects the bias with round + 1: sqrt(1 - .99^2) / (1 - .9^2) = .1410674 / .19."""


def federation_of(*trainable: int) -> Federation:
    """Nodes with so many users each, ids descending."""
    return Federation(
        tuple(
            NodeInfo(100 - partition, partition, users, 24, "catalogue", (("visual", 6),), users=10)
            for partition, users in enumerate(trainable)
        )
    )


Settings = Mapping[str, Mapping[str, Any]]


def config_of(optimizer: str, sections: Settings) -> Config:
    """No warm-up and no decay, a learning rate of 0.1; `sections` may name other values."""
    flat = {
        "federation.optimizer": optimizer,
        "federation.users_per_round": 0,
        "federation.beta_1": 0.9,
        "federation.beta_2": 0.99,
        "federation.tau": 1e-8,
        "stages.backbone.rounds": 10,
        "stages.backbone.learning_rate": 0.1,
        "stages.backbone.warmup_rounds": 0,
        "stages.backbone.final_rate": 1.0,
        "stages.backbone.backbone_rate": 1.0,
        "stages.backbone.patience": 0,
        "evaluation.every": 1,
    }
    for section, values in sections.items():
        prefix = "stages.backbone" if section == "stage" else section
        flat |= {f"{prefix}.{key}": value for key, value in values.items()}
    return from_flat(flat)


def make(
    *trainable: int,
    optimizer: str = "fedadam",
    reports: list[RoundReport] | None = None,
    **sections: Mapping[str, Any],
) -> StageStrategy:
    """A strategy of stage `backbone` over nodes with so many users."""
    config = config_of(optimizer, sections)
    strategy = build_strategy(config.federation)
    strategy.prepare(
        config=config,
        stage=STAGES["backbone"],
        attendance=Attendance(federation_of(*(trainable or (3, 2)))),
        arrays={name: value.copy() for name, value in ARRAYS.items()},
        frozen=FROZEN,
        on_round=lambda _, report: None if reports is None else reports.append(report),
    )
    return strategy


def ask(strategy: StageStrategy, number: int = 1) -> list[Message]:
    arrays = to_record(strategy.arrays)
    return list(strategy.configure_train(number, arrays, ConfigRecord(), None))  # type: ignore[arg-type]


def answer(
    message: Message,
    update: Mapping[str, np.ndarray] = HALF,
    *,
    weight: float = 1.0,
    loss: float = 2.0,
    **changes: Any,
) -> Message:
    """A node's reply: `update` is its users' mean. changes: metrics put in place of the right
    ones."""
    sums = {name: (weight * value).astype(np.float32) for name, value in update.items()}
    metrics = {
        wire.WEIGHT: weight,
        wire.LOSS: loss * weight,
        wire.USERS: len(message.content[wire.CONFIG][wire.MEMBERS]),
        wire.SECONDS: 0.1,
        **changes,
    }
    records = {
        wire.ARRAYS: to_record(sums),
        wire.METRICS: MetricRecord(metrics),
        wire.CONFIG: answered(message),
    }
    return Message(RecordDict(records), reply_to=message)


def ranked(message: Message, hits: float, users: float = 10.0) -> Message:
    """A node's answer to a validation: every sum is `hits`."""
    split = message.content[wire.CONFIG][wire.SPLIT]
    sums = {f"{split}/{p}/{m}/sum": hits for p in PROTOCOLS for m in METRICS}
    counts = {f"{split}/{p}/users": users for p in PROTOCOLS}
    records = {wire.METRICS: MetricRecord({**sums, **counts}), wire.CONFIG: answered(message)}
    return Message(RecordDict(records), reply_to=message)


def round_of(
    strategy: StageStrategy,
    number: int = 1,
    updates: Callable[[Message], Message] = answer,
    hits: float | None = None,
) -> ArrayRecord | None:
    """A whole round as `Strategy.start` runs it; without `hits` nobody answers the validation."""
    stepped, _ = strategy.aggregate_train(number, [updates(m) for m in ask(strategy, number)])
    arrays = to_record(strategy.arrays)
    asked = strategy.configure_evaluate(number, arrays, ConfigRecord(), None)  # type: ignore[arg-type]
    strategy.aggregate_evaluate(number, [] if hits is None else [ranked(m, hits) for m in asked])
    return stepped


# ------------------------------------------------------------------------------------ who is asked


def global_members(strategy: StageStrategy, number: int) -> set[int]:
    """The round's cohort as positions among all users, whatever node they are on."""
    starts, start = {}, 0
    for node in strategy.federation.nodes:
        starts[node.node_id], start = start, start + node.trainable
    return {
        starts[message.metadata.dst_node_id] + member
        for message in ask(strategy, number)
        for member in message.content[wire.CONFIG][wire.MEMBERS]
    }


@pytest.mark.parametrize("partition", [(12,), (1,) * 12, (5, 0, 7), (4, 4, 4)])
def test_cohort_is_drawn_over_users_whatever_the_partition(partition: tuple[int, ...]) -> None:
    whole = make(12, federation={"users_per_round": 5})
    dealt = make(*partition, federation={"users_per_round": 5})

    for number in (1, 2, 3):
        assert global_members(dealt, number) == global_members(whole, number)
        assert len(global_members(dealt, number)) == 5


def test_cohort_depends_on_seed_and_round() -> None:
    cohorts = [
        frozenset(global_members(make(40, run={"seed": seed}, federation=size), number))
        for seed in (0, 1)
        for number in (1, 2)
        for size in [{"users_per_round": 6}]
    ]

    assert len(set(cohorts)) == 4


def test_nodes_without_a_user_in_the_cohort_are_not_asked() -> None:
    strategy = make(1, 1, 1, 1, federation={"users_per_round": 2})

    assert len(ask(strategy)) == 2


def test_everybody_trains_where_the_cohort_is_not_limited() -> None:
    strategy = make(3, 2, federation={"users_per_round": 0})

    members = {m.metadata.dst_node_id: m.content[wire.CONFIG][wire.MEMBERS] for m in ask(strategy)}

    assert members == {100: [0, 1, 2], 99: [0, 1]}


# ------------------------------------------------------------------------------------ what travels


def test_only_trained_groups_travel_after_the_first_message_of_the_stage() -> None:
    strategy = make(3, 2)

    first = ask(strategy, 1)
    evaluations = strategy.evaluation_messages("validation")
    second = ask(strategy, 2)

    for message in first:
        assert set(message.content[wire.FROZEN]) == set(FROZEN)
    for message in [*evaluations, *second]:
        assert set(message.content) == {wire.ARRAYS, wire.CONFIG}
    for message in [*first, *evaluations, *second]:
        assert set(message.content[wire.ARRAYS]) == set(ARRAYS)


def test_a_node_that_is_first_asked_to_evaluate_gets_the_frozen_groups_then() -> None:
    strategy = make(1, 1, federation={"users_per_round": 1})
    trained = {message.metadata.dst_node_id for message in ask(strategy)}

    provisioned = {
        message.metadata.dst_node_id
        for message in strategy.evaluation_messages("validation")
        if wire.FROZEN in message.content
    }

    assert provisioned == {100, 99} - trained


def lost(message: Message) -> Message:
    return Message(Error(2, "does not hold the frozen groups"), reply_to=message)


@pytest.mark.parametrize("trouble", ["error", "refused", "silent"])
def test_frozen_groups_are_sent_again_to_a_node_that_failed(trouble: str) -> None:
    strategy = make(1, 1, 1, federation={"min_replies": 0.3})
    first, *others = ask(strategy, 1)
    failed = {
        "error": [lost(first)],
        "refused": [answer(first, weight=-1.0)],
        "silent": [],
    }[trouble]

    strategy.aggregate_train(1, [*failed, *(answer(message) for message in others)])

    again = [m.metadata.dst_node_id for m in ask(strategy, 2) if wire.FROZEN in m.content]
    assert again == [first.metadata.dst_node_id]


def test_frozen_groups_are_sent_again_after_a_failed_evaluation() -> None:
    strategy = make(1, 1)
    ask(strategy)
    first, second, *_ = strategy.evaluation_messages("validation")

    strategy.validation([lost(first), ranked(second, 1.0)])

    again = [m.metadata.dst_node_id for m in ask(strategy, 2) if wire.FROZEN in m.content]
    assert again == [first.metadata.dst_node_id]


def test_the_round_that_a_node_is_told_goes_on_after_a_resume() -> None:
    strategy = make(3, 2)
    progress = make().progress
    progress.round = 4
    strategy.resume(progress, dict(strategy.arrays), dict(strategy.arrays))

    numbers = {message.content[wire.CONFIG][wire.ROUND] for message in ask(strategy, 1)}

    assert numbers == {5}


# ---------------------------------------------------------------------------- what an update does


def test_first_step_of_fedadam_by_hand() -> None:
    """Reddi et al. 2021, algorithm 2, on five numbers; the weighted mean of 3 x .5 and 1 x -.3 is
    .3; a number without update stays; the backbone moves at half the rate."""
    strategy = make(3, 2, stage={"backbone_rate": 0.5})
    first, second = ask(strategy)
    more = {
        "item_embedding.weight": np.array([[0.5, 0.0], [-0.5, 0.5]], dtype=np.float32),
        "backbone.scale": np.array([0.5], dtype=np.float32),
    }
    less = {
        "item_embedding.weight": np.array([[-0.3, 0.0], [0.3, 0.5]], dtype=np.float32),
        "backbone.scale": np.array([-0.3], dtype=np.float32),
    }

    strategy.aggregate_train(1, [answer(first, more, weight=3.0), answer(second, less)])

    step = 0.1 * FIRST_STEP
    expected = [[0.1 + step, -0.2], [0.3 - step, 0.4 + step]]
    np.testing.assert_allclose(strategy.arrays["item_embedding.weight"], expected, rtol=1e-6)
    np.testing.assert_allclose(strategy.arrays["backbone.scale"], [1 + 0.5 * step], rtol=1e-6)


def test_second_step_of_fedadam_by_hand() -> None:
    """m = .9 * .1 d1 + .1 d2, v = .99 * .01 d1^2 + .01 d2^2, corrected with t + 1 = 3."""
    strategy = make(1)
    round_of(strategy, 1)
    before = float(strategy.arrays["backbone.scale"][0])
    quarter = {name: value / 2 for name, value in HALF.items()}

    round_of(strategy, 2, lambda message: answer(message, quarter))

    m, v = 0.9 * 0.1 * 0.5 + 0.1 * 0.25, 0.99 * 0.01 * 0.25 + 0.01 * 0.0625
    corrected = math.sqrt(1 - 0.99**3) / (1 - 0.9**3)
    step = 0.1 * corrected * m / (math.sqrt(v) + 1e-8)
    assert float(strategy.arrays["backbone.scale"][0]) == pytest.approx(before + step, rel=1e-6)


@pytest.mark.parametrize(
    ("schedule", "number", "share"),
    [
        ({"warmup_rounds": 4}, 1, 1 / 4),
        ({"warmup_rounds": 4}, 4, 1.0),
        ({"final_rate": 0.0}, 5, 0.5),
        ({"final_rate": 0.2}, 5, 0.6),
    ],
    ids=["warm-up begins", "warm-up ends", "half of the cosine", "cosine to a fifth"],
)
def test_the_step_is_scaled_by_the_rounds_learning_rate(
    schedule: dict[str, float], number: int, share: float
) -> None:
    steps = []
    for settings in ({}, schedule):
        strategy = make(1, stage=settings)
        strategy.first_round = number - 1
        round_of(strategy)
        steps.append(strategy.arrays["backbone.scale"] - ARRAYS["backbone.scale"])

    np.testing.assert_allclose(steps[1], share * steps[0], rtol=1e-5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_nobody_updates_does_not_move_at_all(optimizer: str) -> None:
    """The mean of models differs from the model in the last bit where the shares' sum is not quite
    1, and an optimiser with a tiny tau makes a full step of that. The mean of updates is zero."""
    strategy = make(1, 1, 1, optimizer=optimizer, federation={"tau": 1e-30})
    only_one = {name: value.copy() for name, value in NO_UPDATE.items()}
    only_one["item_embedding.weight"][1, 1] = 0.01
    weights = {100: 0.3, 99: 7.7, 98: 1.1}

    for number in (1, 2, 3):
        round_of(
            strategy,
            number,
            lambda m: answer(m, only_one, weight=weights[m.metadata.dst_node_id]),
        )

    after = strategy.arrays["item_embedding.weight"]
    assert after[1, 1] != ARRAYS["item_embedding.weight"][1, 1]
    untouched = np.array([[True, True], [True, False]])
    np.testing.assert_array_equal(after[untouched], ARRAYS["item_embedding.weight"][untouched])
    np.testing.assert_array_equal(strategy.arrays["backbone.scale"], ARRAYS["backbone.scale"])
    for name, moment in moments(strategy).items():
        if name.endswith("item_embedding.weight"):
            np.testing.assert_array_equal(moment[untouched], 0.0)


def test_updates_are_averaged_in_float64() -> None:
    """An update of 1e-9 is lost beside a model of 1 in float32, yet Adam must see its size."""
    strategy = make(1, 1)
    tiny = {name: np.full_like(value, 1e-9) for name, value in ARRAYS.items()}

    round_of(strategy, 1, lambda message: answer(message, tiny))

    mean = moments(strategy)["m_t/backbone.scale"]
    assert mean.dtype == np.float64
    np.testing.assert_allclose(mean, 0.1 * 1e-9, rtol=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimiser_changes_the_model_in_two_rounds(optimizer: str) -> None:
    strategy = make(1, 1, optimizer=optimizer)
    seen = [strategy.arrays]

    for number in (1, 2):
        round_of(strategy, number)
        seen.append(strategy.arrays)

    for before, after in itertools.pairwise(seen):
        for name in ARRAYS:
            assert np.isfinite(after[name]).all()
            assert after[name].dtype == np.float32
            assert (after[name] > before[name]).all()  # the update was positive everywhere


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_order_of_replies_and_of_names_makes_no_difference(optimizer: str) -> None:
    """Bit by bit, moments and loss too: 0.1 + 0.2 + 0.3 differs from 0.3 + 0.2 + 0.1."""
    generator = np.random.default_rng(0)
    updates = {
        node: {
            name: generator.normal(size=a.shape).astype(np.float32) for name, a in ARRAYS.items()
        }
        for node in (100, 99, 98)
    }
    weights = {100: 0.1, 99: 0.2, 98: 0.3}
    ends: list[StageStrategy] = []
    for turn, order in enumerate(itertools.permutations(range(3))):
        strategy = make(1, 1, 1, optimizer=optimizer)
        for number in (1, 2):
            replies = []
            for message in ask(strategy, number):
                node = message.metadata.dst_node_id
                names = list(ARRAYS)[:: (-1) ** turn]
                update = {name: updates[node][name] for name in names}
                replies.append(answer(message, update, weight=weights[node]))
            strategy.aggregate_train(number, [replies[place] for place in order])
        ends.append(strategy)

    for end in ends[1:]:
        assert end.report.loss == ends[0].report.loss
        for ours, theirs in ((end.arrays, ends[0].arrays), (moments(end), moments(ends[0]))):
            for name, value in theirs.items():
                np.testing.assert_array_equal(ours[name], value)


# ------------------------------------------------------------------------- what is never averaged


def with_scale(message: Message, value: Any) -> Message:
    """An answer with something else in the place of `backbone.scale`, None: without it."""
    reply = answer(message)
    arrays = dict(reply.content[wire.ARRAYS])
    arrays["backbone.scale"] = value if isinstance(value, Array | None) else Array(value)
    named = {name: array for name, array in arrays.items() if array is not None}
    return Message(
        RecordDict({**dict(reply.content), wire.ARRAYS: ArrayRecord(named)}), reply_to=message
    )


def saying(message: Message, **about: Any) -> Message:
    """An answer that says that it answers something else; None: that says nothing of a key."""
    reply = answer(message)
    said = {**dict(answered(message)), **about}
    record = ConfigRecord({key: value for key, value in said.items() if value is not None})
    return Message(RecordDict({**dict(reply.content), wire.CONFIG: record}), reply_to=message)


def scale(*values: float, dtype: str = "float32") -> np.ndarray:
    return np.array(values, dtype=dtype)


def bytes_as(content: bytes) -> Array:
    """An array record whose bytes are not what it says they are."""
    return Array(dtype="float32", shape=(1,), stype="numpy.ndarray", data=content)


def pickled() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([{"hospital": 7}], dtype=object), allow_pickle=True)
    return stream.getvalue()


def without_arrays(message: Message) -> Message:
    records = {key: value for key, value in answer(message).content.items() if key != wire.ARRAYS}
    return Message(RecordDict(records), reply_to=message)


def renamed(message: Message) -> Message:
    """The right numbers under the name of a group that does not train."""
    reply = answer(message)
    arrays = {name.replace("backbone", "gate"): a for name, a in reply.content[wire.ARRAYS].items()}
    return Message(
        RecordDict({**dict(reply.content), wire.ARRAYS: ArrayRecord(arrays)}), reply_to=message
    )


BAD = {
    "nan": lambda m: with_scale(m, scale(math.nan)),
    "inf": lambda m: with_scale(m, scale(-math.inf)),
    "a million times too large": lambda m: answer(m, {n: 1e6 * v for n, v in HALF.items()}),
    "another shape": lambda m: with_scale(m, scale(0.5, 0.5)),
    "another group": renamed,
    "a group is missing": lambda m: with_scale(m, None),
    "float64": lambda m: with_scale(m, scale(0.5, dtype="float64")),
    "integers": lambda m: with_scale(m, scale(1, dtype="int32")),
    "a pickle": lambda m: with_scale(m, bytes_as(pickled())),
    "cut bytes": lambda m: with_scale(m, bytes_as(Array(scale(0.5)).data[:-2])),
    "no array at all": lambda m: with_scale(m, bytes_as(b"hospital")),
    "a message far too large": lambda m: with_scale(m, np.zeros(10**6, dtype=np.float32)),
    "weight 0": lambda m: answer(m, weight=0.0),
    "a trillion examples": lambda m: answer(m, weight=1e12),
    "weight that is no number": lambda m: answer(m, **{wire.WEIGHT: math.nan}),
    "more users than asked": lambda m: answer(m, **{wire.USERS: 2}),
    "half a user": lambda m: answer(m, **{wire.USERS: 0.5}),
    "no users": lambda m: answer(m, **{wire.USERS: 0}),
    "loss nan": lambda m: answer(m, loss=math.nan),
    "loss out of range": lambda m: answer(m, loss=1e30),
    "loss below zero": lambda m: answer(m, loss=-5.0),
    "seconds below zero": lambda m: answer(m, **{wire.SECONDS: -1.0}),
    "a list of metrics": lambda m: answer(m, **{wire.LOSS: [1.0] * 9}),
    "an integer beyond floats": lambda m: answer(m, **{wire.LOSS: 10**400}),
    "a metric too many": lambda m: answer(m, hospital=7.0),
    "no arrays": without_arrays,
    "of an old round": lambda m: saying(m, round=0),
    "of a round to come": lambda m: saying(m, round=2),
    "of another stage": lambda m: saying(m, stage="routing"),
    "of a validation": lambda m: saying(m, split="validation"),
    "of it does not say what": lambda m: saying(m, round=None),
}
"""Every kind is one node's answer to the training message of round 1 of stage `backbone`."""


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_bad_update_is_refused_and_the_round_goes_on_with_the_rest(
    bad: Callable[[Message], Message], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    strategy, alone = make(1, 1, 1), make(1, 1)
    first, *others = ask(strategy)

    strategy.aggregate_train(1, [bad(first), *map(answer, others)])
    alone.aggregate_train(1, [answer(message) for message in ask(alone)])

    for name in ARRAYS:
        np.testing.assert_array_equal(strategy.arrays[name], alone.arrays[name])
    for name, moment in moments(alone).items():
        np.testing.assert_array_equal(moments(strategy)[name], moment)
    assert strategy.report.refused == strategy.exchange.strikes.count(100) == 1
    assert strategy.report.users == 2
    assert strategy.report.loss == 2.0
    (warning,) = strategy.report.warnings
    assert warning.startswith("stage backbone, round 1: node 100 refused: ")
    assert warning.isprintable()
    assert warning in caplog.messages


def test_a_node_that_could_not_do_its_part_is_no_suspect() -> None:
    strategy, alone = make(1, 1, 1), make(1, 1)
    first, *others = ask(strategy)

    strategy.aggregate_train(1, [lost(first), *map(answer, others)])
    alone.aggregate_train(1, [answer(message) for message in ask(alone)])

    for name in ARRAYS:
        np.testing.assert_array_equal(strategy.arrays[name], alone.arrays[name])
    assert strategy.report.refused == 1
    assert strategy.exchange.strikes.count(100) == 0


def test_what_a_node_answered_before_is_no_answer_now() -> None:
    """The same bytes, sent again as the answer to the next round's message."""
    strategy, alone = make(1, 1), make(1, 1)
    first, second = ask(strategy)
    old = answer(first)
    strategy.aggregate_train(1, [old, answer(second)])
    alone.aggregate_train(1, [answer(message) for message in ask(alone)])

    first, second = ask(strategy, 2)
    replayed = Message(old.content, reply_to=first)
    strategy.aggregate_train(2, [replayed, answer(second)])
    alone.aggregate_train(2, [answer(ask(alone, 2)[1])])

    for name in ARRAYS:
        np.testing.assert_array_equal(strategy.arrays[name], alone.arrays[name])
    assert "'round': 1" in strategy.report.warnings[0]


@pytest.mark.parametrize("order", [1, -1])
def test_of_a_node_that_answers_twice_nothing_counts(order: int) -> None:
    strategy, alone = make(1, 1, 1), make(1, 1)
    first, *others = ask(strategy)
    twice = [answer(first), answer(first, NO_UPDATE)][::order]

    strategy.aggregate_train(1, [*twice, *map(answer, others)])
    alone.aggregate_train(1, [answer(message) for message in ask(alone)])

    for name in ARRAYS:
        np.testing.assert_array_equal(strategy.arrays[name], alone.arrays[name])
    assert strategy.report.refused == 1
    assert strategy.exchange.strikes.count(100) == 1


def test_a_fault_that_nobody_thought_of_is_that_nodes_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    strategy = make(1, 1)
    first, second = ask(strategy)
    read = exchange.read_update

    def fragile(reply: Message, *rest: Any, **more: Any) -> Any:
        if reply.metadata.src_node_id == 100:
            raise ZeroDivisionError
        return read(reply, *rest, **more)

    monkeypatch.setattr(exchange, "read_update", fragile)
    strategy.aggregate_train(1, [answer(first), answer(second)])

    assert strategy.report.users == 1
    assert strategy.report.warnings[0].endswith("refused: cannot be read (ZeroDivisionError)")


def test_names_that_a_stranger_makes_up_are_in_no_report() -> None:
    strategy = make(1, 1)
    first, second = ask(strategy)

    strategy.aggregate_train(1, [renamed(first), answer(second)])

    assert strategy.report.group_bytes_up.keys() == {"item_embedding", "backbone"}


# ------------------------------------------------------------------------------- who is left out


def spoiled(message: Message) -> Message:
    """Node 100 lies in every round, in every other way."""
    number = message.content[wire.CONFIG][wire.ROUND]
    bad = list(BAD.values())[number % len(BAD)]
    return bad(message) if message.metadata.dst_node_id == 100 else answer(message)


def test_after_three_refusals_a_node_is_not_asked_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    reports: list[RoundReport] = []
    strategy = make(1, 1, 1, reports=reports)

    for number in range(1, 6):
        round_of(strategy, number, spoiled)

    assert [report.refused for report in reports] == [1, 1, 1, 0, 0]
    assert [report.left_out for report in reports] == [0, 0, 1, 1, 1]
    assert [report.users for report in reports] == [2] * 5
    assert {m.metadata.dst_node_id for m in ask(strategy, 6)} == {98, 99}
    asked = {m.metadata.dst_node_id for m in strategy.evaluation_messages("validation")}
    assert asked == {98, 99}
    (told,) = [line for line in caplog.messages if "is left out" in line]
    assert told.startswith("stage backbone, round 3: node 100 is left out of the run: refused 3 ")
    assert strategy.progress.refused == 3


def test_a_good_answer_between_two_bad_ones_is_no_pardon() -> None:
    strategy = make(1, 1, 1)

    for number in range(1, 6):
        round_of(strategy, number, spoiled if number % 2 else answer)

    assert strategy.exchange.strikes.out(100)


def test_nobody_is_left_out_where_no_number_of_strikes_is_set() -> None:
    strategy = make(1, 1, 1, federation={"strikes": 0})

    for number in range(1, 8):
        round_of(strategy, number, spoiled)

    assert len(ask(strategy, 8)) == 3


def test_whom_a_round_draws_does_not_depend_on_who_is_left_out() -> None:
    size = {"users_per_round": 7}
    whole, without = make(4, 5, 6, federation=size), make(4, 5, 6, federation=size)
    for number in (1, 2, 3):
        without.exchange.strikes.strike(
            without.federation.nodes[1], stage="backbone", round_number=number, reason="nan"
        )

    for number in (4, 5, 6):
        drawn, left = (
            {m.metadata.dst_node_id: m.content[wire.CONFIG][wire.MEMBERS] for m in ask(one, number)}
            for one in (whole, without)
        )
        assert left == {node: members for node, members in drawn.items() if node != 99}


def test_a_round_that_drew_only_users_of_nodes_left_out_is_no_failure() -> None:
    strategy = make(1, 1, federation={"users_per_round": 1})
    drawn = [ask(strategy, number)[0].metadata.dst_node_id for number in range(1, 30)]
    nodes = {node.node_id: node for node in strategy.federation.nodes}
    for number in (1, 2, 3):
        strategy.exchange.strikes.strike(
            nodes[100], stage="backbone", round_number=number, reason="nan"
        )

    for number, node in enumerate(drawn, start=1):
        stepped = round_of(strategy, number)
        assert (stepped is None) == (node == 100)
        assert strategy.progress.failed_rounds == 0


def test_a_run_without_anybody_left_ends_and_says_why() -> None:
    strategy = make(1, federation={"strikes": 1})

    with pytest.raises(RoundsFailed, match=r"every node is left out.*100, for: .*expected 0 to"):
        round_of(strategy, 1, lambda message: answer(message, loss=1e30))


@pytest.mark.parametrize("rule", ["median", "trimmed_mean", "krum"])
def test_a_robust_rule_is_followed_and_needs_enough_updates(rule: str) -> None:
    lie = {name: np.full_like(value, -9.0) for name, value in ARRAYS.items()}
    settings = {"aggregation": rule, "nodes": 5, "min_replies": 0.1}
    strategy, honest = make(*[1] * 5, federation=settings), make(1)
    first, *others = ask(strategy)

    strategy.aggregate_train(1, [answer(first, lie), *map(answer, others)])
    round_of(honest)

    for name in ARRAYS:
        np.testing.assert_allclose(strategy.arrays[name], honest.arrays[name], rtol=1e-6)
    few = {"median": 2, "trimmed_mean": 4, "krum": 4}[rule]
    stepped, _ = strategy.aggregate_train(2, [answer(m) for m in ask(strategy, 2)[:few]])
    assert stepped is None


@pytest.mark.parametrize(
    ("draw", "weighting", "heaviest"),
    [
        ("windows", "examples", 150.0),  # 3 windows of 50 examples
        ("windows", "sqrt", 3 * math.sqrt(50)),
        ("windows", "uniform", 3.0),
        ("users", "examples", 600.0),
        ("users", "uniform", 3.0),
    ],
)
def test_a_node_weighs_at_most_what_was_drawn_there_can(
    draw: str, weighting: str, heaviest: float
) -> None:
    settings = {"draw": draw, "weighting": weighting, "max_weight": 200.0}
    for weight, refused in ((heaviest, 0), (heaviest * 1.01, 1)):
        strategy = make(3, 1, federation=settings, model={"max_len": 50})
        first, second = ask(strategy)
        strategy.aggregate_train(1, [answer(first, NO_UPDATE, weight=weight), answer(second)])
        assert strategy.report.refused == refused


def test_a_node_that_was_not_asked_is_refused() -> None:
    strategy = make(1, 1, federation={"users_per_round": 1})
    asked = ask(strategy)[0]
    stranger = make(1, 1)
    uninvited = next(
        m for m in ask(stranger) if m.metadata.dst_node_id != asked.metadata.dst_node_id
    )

    strategy.aggregate_train(1, [answer(asked), answer(uninvited)])

    assert strategy.report.refused == 1
    assert strategy.report.users == 1


def test_nodes_that_do_not_answer_in_time_are_told() -> None:
    strategy = make(1, 1, 1, federation={"min_replies": 0.3})
    first, *_ = ask(strategy)

    stepped, _ = strategy.aggregate_train(1, [answer(first)])

    assert stepped is not None
    assert strategy.report.refused == 0
    assert strategy.report.warnings == ["2 of 3 nodes did not answer in time: [98, 99]"]


def test_too_few_fit_updates_change_nothing() -> None:
    strategy = make(1, 1, 1, federation={"min_replies": 0.5})
    first, *others = ask(strategy)

    stepped, _ = strategy.aggregate_train(1, [answer(first), *map(lost, others)])

    assert stepped is None
    assert moments(strategy) == {}
    for name in ARRAYS:
        np.testing.assert_array_equal(strategy.arrays[name], ARRAYS[name])
    assert "1 of 3 nodes" in strategy.report.warnings[-1]


def test_no_node_needs_to_answer_where_none_is_required_but_one_must() -> None:
    strategy = make(1, 1, federation={"min_replies": 0.0})

    stepped, _ = strategy.aggregate_train(1, list(map(lost, ask(strategy))))

    assert stepped is None


def test_three_failed_rounds_in_a_row_end_the_run_and_say_why() -> None:
    strategy = make(1, 1)
    for number in (1, 2):
        assert round_of(strategy, number, lost) is None

    with pytest.raises(FedrecError, match=r"3 rounds in a row failed.*does not hold the frozen"):
        round_of(strategy, 3, lost)


def test_a_good_round_between_failed_ones_forgives_them() -> None:
    strategy = make(1, 1)

    for number, reply in enumerate((lost, lost, answer, lost, lost, answer), start=1):
        round_of(strategy, number, reply)

    assert strategy.progress.failed_rounds == 0


# ------------------------------------------------------------------------------------- evaluation


def evaluated(every: int, rounds: int, first: int = 0) -> list[int]:
    strategy = make(1, stage={"rounds": rounds}, evaluation={"every": every})
    strategy.first_round = first
    due = []
    for number in range(1, rounds - first + 1):
        ask(strategy, number)
        arrays = to_record(strategy.arrays)
        if list(strategy.configure_evaluate(number, arrays, ConfigRecord(), None)):  # type: ignore[arg-type]
            due.append(first + number)
    return due


def test_validation_every_few_rounds_and_at_the_last() -> None:
    assert evaluated(every=3, rounds=7) == [3, 6, 7]
    assert evaluated(every=3, rounds=7, first=4) == [6, 7]
    assert evaluated(every=10, rounds=2) == [2]


def test_validation_divides_the_sums_of_all_nodes() -> None:
    strategy = make(1, 1)
    ask(strategy)
    first, second = strategy.evaluation_messages("validation")

    found = strategy.validation([ranked(first, 1.0, users=4.0), ranked(second, 2.0, users=8.0)])

    assert found is not None
    metrics = found.metrics
    assert metrics["full"]["hr@10"] == 3.0 / 12.0
    assert metrics["full"]["users"] == 12
    assert metrics["sampled100"]["ndcg@5"] == 3.0 / 12.0


def broken(message: Message, **changes: Any) -> Message:
    reply = ranked(message, 1.0)
    metrics = {**dict(reply.content[wire.METRICS]), **changes}
    records = {wire.METRICS: MetricRecord(metrics), wire.CONFIG: answered(message)}
    return Message(RecordDict(records), reply_to=message)


def claiming(message: Message, users: float) -> Message:
    """As many users as nobody has, and hits for all of them."""
    return ranked(message, users, users=users)


BAD_RANKS = {
    "an error": lost,
    "nan": lambda m: broken(m, **{"validation/full/hr@10/sum": math.nan}),
    "more hits than users": lambda m: broken(m, **{"validation/full/hr@10/sum": 11.0}),
    "negative users": lambda m: broken(m, **{"validation/full/users": -1.0}),
    "an unknown key": lambda m: broken(m, user_17=1.0),
    "a list": lambda m: broken(m, **{"validation/full/hr@10/sum": [1.0]}),
    "no metrics": lambda m: Message(RecordDict(), reply_to=m),
    "more users than it has": lambda m: claiming(m, 11.0),
    "a trillion users": lambda m: claiming(m, 1e12),
    "half a user": lambda m: claiming(m, 0.5),
    "other users by another protocol": lambda m: broken(m, **{"validation/full/users": 9.0}),
    "of the test": lambda m: Message(
        RecordDict(
            {**dict(ranked(m, 1.0).content), wire.CONFIG: ConfigRecord({wire.SPLIT: "test"})}
        ),
        reply_to=m,
    ),
    "a message far too large": lambda m: Message(
        RecordDict({**dict(ranked(m, 1.0).content), "more": to_record({"x": np.zeros(10**5)})}),
        reply_to=m,
    ),
}


@pytest.mark.parametrize("bad", BAD_RANKS.values(), ids=BAD_RANKS.keys())
def test_a_bad_answer_to_a_validation_is_left_out_and_told(
    bad: Callable[[Message], Message],
) -> None:
    strategy = make(1, 1)
    ask(strategy)
    first, second = strategy.evaluation_messages("validation")

    found = strategy.validation([bad(first), ranked(second, 5.0)])

    assert found is not None
    assert found.metrics["full"]["hr@10"] == 0.5
    assert "node 100" in strategy.report.warnings[0]
    assert "1 of 2 nodes answered" in strategy.report.warnings[-1]


def test_an_answer_for_nobody_is_no_validation() -> None:
    strategy = make(1, 1)
    ask(strategy)
    first, _ = strategy.evaluation_messages("validation")

    assert strategy.validation([ranked(first, 0.0, users=0.0)]) is None


def test_no_answer_at_all_is_no_validation() -> None:
    strategy = make(1, 1)
    round_of(strategy, 1, hits=None)

    assert strategy.report.validation is None
    assert strategy.progress.best_round == 0


def test_the_best_round_is_kept_not_the_last() -> None:
    strategy = make(1)
    models = []

    for number, hits in enumerate((2.0, 5.0, 4.0, 5.0), start=1):
        round_of(strategy, number, hits=hits)
        models.append(strategy.arrays)

    assert strategy.progress.best_round == 2
    assert strategy.progress.best_metrics["full"]["ndcg@10"] == 0.5
    assert strategy.best_arrays is models[1]
    assert not np.array_equal(
        strategy.best_arrays["backbone.scale"], strategy.arrays["backbone.scale"]
    )


def test_patience_ends_the_stage_after_the_round_was_reported() -> None:
    reports: list[RoundReport] = []
    strategy = make(1, stage={"patience": 2}, reports=reports)
    round_of(strategy, 1, hits=5.0)
    round_of(strategy, 2, hits=4.0)

    with pytest.raises(StageOver, match="2 evaluations"):
        round_of(strategy, 3, hits=5.0)

    assert [report.round for report in reports] == [1, 2, 3]
    assert strategy.progress.best_round == 1


def test_a_better_validation_restores_patience() -> None:
    strategy = make(1, stage={"patience": 2})

    for number, hits in enumerate((5.0, 4.0, 6.0, 4.0), start=1):
        round_of(strategy, number, hits=hits)

    assert strategy.progress.stale_evaluations == 1


# ---------------------------------------------------------------------------------------- reports


def test_a_group_that_trains_but_gets_no_update_is_told() -> None:
    strategy = make(1, 1)
    stuck = {**HALF, "backbone.scale": np.zeros(1, dtype=np.float32)}

    round_of(strategy, 1, lambda message: answer(message, stuck))

    assert strategy.report.update_norms["backbone"] == 0.0
    assert any("'backbone'" in text and "no update" in text for text in strategy.report.warnings)
    assert not any("'item_embedding'" in text for text in strategy.report.warnings)


def test_update_norms_are_of_the_weighted_mean_by_group() -> None:
    strategy = make(1, 1)
    first, second = ask(strategy)
    one = {**NO_UPDATE, "backbone.scale": np.array([1.0], dtype=np.float32)}
    other = {**HALF, "backbone.scale": np.array([-2.0], dtype=np.float32)}

    strategy.aggregate_train(1, [answer(first, one, weight=3.0), answer(second, other, weight=1.0)])

    assert strategy.report.update_norms["backbone"] == pytest.approx(0.25)
    assert strategy.report.update_norms["item_embedding"] == pytest.approx(0.25)  # 4 x .125 each


def test_a_report_holds_the_gate_the_loss_and_the_traffic() -> None:
    reports: list[RoundReport] = []
    strategy = make(3, 2, reports=reports)

    round_of(strategy, 1, lambda m: answer(m, weight=3.0 if m.metadata.dst_node_id == 100 else 1.0))

    (report,) = reports
    assert report.stage == "backbone"
    assert (report.round, report.rounds) == (1, 10)
    assert report.gate == pytest.approx(0.1)  # frozen in this stage, and still told
    assert report.loss == 2.0
    assert report.users == 5
    assert report.bytes_down > report.bytes_up > 5 * 4
    assert strategy.progress.bytes_up == report.bytes_up
    assert report.seconds > 0
    assert report.remaining_s > 0


def test_sent_arrays_are_the_models() -> None:
    strategy = make(1)

    (message,) = ask(strategy)

    for name, value in from_record(message.content[wire.ARRAYS]).items():
        np.testing.assert_array_equal(value, ARRAYS[name])
