"""One stage's rounds on hand-made replies: five numbers, and what must become of them."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from fedrec import wire
from fedrec.config import Config, from_flat
from fedrec.errors import FedrecError
from fedrec.evaluation.metrics import METRICS
from fedrec.evaluation.ranks import PROTOCOLS
from fedrec.stages import STAGES
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
            NodeInfo(100 - partition, partition, users, 24, "catalogue", (("visual", 6),))
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


def nan_update(message: Message) -> Message:
    broken = {name: value.copy() for name, value in HALF.items()}
    broken["backbone.scale"][0] = np.nan
    return answer(message, broken)


BAD = {
    "an error": lost,
    "nan": nan_update,
    "a huge update": lambda m: answer(m, {n: np.full_like(v, 1e9) for n, v in ARRAYS.items()}),
    "weight 0": lambda m: answer(m, weight=0.0),
    "weight beyond its users": lambda m: answer(m, weight=1e12),
    "loss nan": lambda m: answer(m, loss=math.nan),
    "a metric too many": lambda m: answer(m, hospital=7.0),
    "no arrays": lambda m: Message(
        RecordDict({wire.METRICS: answer(m).content[wire.METRICS], wire.CONFIG: answered(m)}),
        reply_to=m,
    ),
}


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
    assert strategy.report.refused == 1
    assert strategy.report.users == 2
    assert strategy.report.loss == 2.0
    assert "node 100" in strategy.report.warnings[0]
    assert strategy.report.warnings[0] in caplog.messages


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


BAD_RANKS = {
    "an error": lost,
    "nan": lambda m: broken(m, **{"validation/full/hr@10/sum": math.nan}),
    "more hits than users": lambda m: broken(m, **{"validation/full/hr@10/sum": 11.0}),
    "negative users": lambda m: broken(m, **{"validation/full/users": -1.0}),
    "an unknown key": lambda m: broken(m, user_17=1.0),
    "a list": lambda m: broken(m, **{"validation/full/hr@10/sum": [1.0]}),
    "no metrics": lambda m: Message(RecordDict(), reply_to=m),
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
