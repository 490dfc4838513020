from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from fedrec.config import PERSONAL_PARTS, STAGE_ORDER, Config, from_flat, to_flat, training
from fedrec.errors import ConfigError
from fedrec.model.experts import ADAPTERS
from fedrec.stages import STAGES as REGISTERED
from fedrec.training.losses import OBJECTIVES
from fedrec.training.personal import PARTS
from fedrec.training.weighting import WEIGHTINGS
from fedrec.transport import CODECS

STAGES = ("backbone", "alignment", "routing")
POSITIVE = (
    """
    federation.nodes federation.max_weight federation.max_update_norm federation.tau
    federation.row_share federation.trimmed_share federation.malicious_nodes
    federation.registration_timeout_s federation.round_timeout_s federation.failed_rounds
    federation.evaluation_timeout_s federation.absence_timeout_s
    model.dim model.layers model.heads model.inner model.max_len model.time_scales model.adapter
    model.router_rank model.gate_init model.transition_gate_init
    training.local_steps training.local_learning_rate training.memory_mib evaluation.every
    personal.learning_rate
    evaluation.new_item_loudness
""".split()
    + [
        f"stages.{stage}.{key}"
        for stage in STAGES
        for key in ("learning_rate", "negatives", "contrastive_temperature")
    ]
)
NOT_NEGATIVE = """
    run.seed run.threads federation.users_per_round federation.strikes model.squeeze
    model.transitions
    memory.short_term memory.long_term training.clip_norm
    training.proximal
    evaluation.seed evaluation.users evaluation.test_users
""".split() + [
    f"stages.{stage}.{key}"
    for stage in STAGES
    for key in (
        "rounds", "patience", "warmup_rounds", "final_rate", "backbone_rate", "windows",
        "positions", "contrastive_weight", "surprise", "balance_weight",
    )
]  # fmt: skip
BELOW_ONE = "federation.beta_1 federation.beta_2".split()
BELOW_ONE += [f"stages.{stage}.dropout" for stage in STAGES]
UP_TO_ONE = (
    "federation.min_replies evaluation.min_share evaluation.best_from training.gbce_calibration"
).split()
CHOICES = {
    "federation.aggregation": "mode",
    "federation.item_averaging": "item",
    "federation.optimizer": "adam",
    "federation.transport": "int4",
    "federation.weighting": "log",
    "federation.draw": "items",
    "model.router": "tree",
    "model.gate": "open",
    "model.attention": "global",
    "model.adapter_init": "zero",
    "personal.from_stage": "fusion",
    "training.objective": "ce",
}


def refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        from_flat({key: value})  # type: ignore[dict-item]
    message = str(caught.value)
    assert message.startswith(f"{key} = {value!r}: must be "), message


def as_typed(key: str, value: float) -> float:
    """`value` as an int where the setting is one."""
    return type(to_flat(Config())[key])(value)  # type: ignore[arg-type, return-value]


def test_every_number_is_bounded_by_a_test_here() -> None:
    listed = {*POSITIVE, *NOT_NEGATIVE, *BELOW_ONE, *UP_TO_ONE, "memory.novelty"}
    numbers = {key for key, value in to_flat(Config()).items() if type(value) in (int, float)}
    assert listed == numbers


@pytest.mark.parametrize("key", POSITIVE)
def test_what_must_be_above_zero(key) -> None:
    refused(key, as_typed(key, 0))
    refused(key, as_typed(key, -1))


@pytest.mark.parametrize("key", NOT_NEGATIVE)
def test_what_must_not_be_negative(key) -> None:
    refused(key, as_typed(key, -1))
    no_expert_stage = {"stages.alignment.rounds": 0, "stages.routing.rounds": 0}
    assert to_flat(from_flat({**no_expert_stage, key: as_typed(key, 0)}))[key] == 0


@pytest.mark.parametrize("stage", ["backbone", "alignment", "routing"])
def test_patience_needs_every_round_to_count(stage: str) -> None:
    patience = {f"stages.{stage}.patience": 3}
    with pytest.raises(ConfigError, match=rf"stages.{stage}.patience = 3: .*best_from=0"):
        from_flat({**patience, "evaluation.best_from": 0.5})
    from_flat({**patience, "evaluation.best_from": 0.0})


@pytest.mark.parametrize("key", BELOW_ONE)
def test_what_must_be_below_one(key) -> None:
    refused(key, 1.0)
    refused(key, -0.1)
    assert to_flat(from_flat({key: 0.0}))[key] == 0.0


@pytest.mark.parametrize("key", UP_TO_ONE)
def test_what_may_reach_one(key) -> None:
    """All replies; all of the calibration."""
    refused(key, 1.1)
    refused(key, -0.1)
    for value in (0.0, 1.0):
        assert to_flat(from_flat({key: value}))[key] == value


def test_the_share_of_a_row_is_one_at_most() -> None:
    refused("federation.row_share", 1.1)
    assert from_flat({"federation.row_share": 1.0}).federation.row_share == 1.0


def test_what_is_cut_at_each_end_is_less_than_half() -> None:
    refused("federation.trimmed_share", 0.5)
    assert from_flat({"federation.trimmed_share": 0.49}).federation.trimmed_share == 0.49


@pytest.mark.parametrize(
    ("settings", "fewest"),
    [
        ({"aggregation": "median"}, 3),
        ({"aggregation": "trimmed_mean", "trimmed_share": 0.2}, 5),
        ({"aggregation": "trimmed_mean", "trimmed_share": 0.45}, 3),
        ({"aggregation": "trimmed_mean", "trimmed_share": 0.01}, 100),
        ({"aggregation": "krum", "malicious_nodes": 1}, 5),
        ({"aggregation": "krum", "malicious_nodes": 4}, 11),
    ],
)
def test_a_robust_rule_needs_enough_nodes(settings: dict[str, Any], fewest: int) -> None:
    flat = {f"federation.{key}": value for key, value in settings.items()}

    found = from_flat({**flat, "federation.nodes": fewest})

    assert found.federation.fewest_updates == fewest
    with pytest.raises(ConfigError, match=f"nodes = {fewest - 1}: .* at least {fewest} nodes"):
        from_flat({**flat, "federation.nodes": fewest - 1})


@pytest.mark.parametrize("rule", ["median", "trimmed_mean", "krum"])
@pytest.mark.parametrize("other", [{"item_averaging": "row"}, {"sparse_rows": True}])
def test_a_robust_rule_takes_whole_tables_alike(rule: str, other: dict[str, Any]) -> None:
    flat = {f"federation.{key}": value for key, value in other.items()}

    with pytest.raises(ConfigError, match=f"'mean' where federation.{next(iter(other))}"):
        from_flat({**flat, "federation.nodes": 9, "federation.aggregation": rule})


def test_novelty_is_one_minus_a_cosine() -> None:
    refused("memory.novelty", -0.1)
    refused("memory.novelty", 2.5)


@pytest.mark.parametrize(
    "key", [key for key, value in to_flat(Config()).items() if type(value) is float]
)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_number_may_be_infinite_or_none(key, value) -> None:
    refused(key, value)


@pytest.mark.parametrize("key", CHOICES)
def test_choices_are_named(key) -> None:
    refused(key, CHOICES[key])
    with pytest.raises(ConfigError, match=f"one of .*{to_flat(Config())[key]}"):
        from_flat({key: CHOICES[key]})


def test_choices_are_those_of_the_registries() -> None:
    for weighting in WEIGHTINGS:
        from_flat({"federation.weighting": weighting})
    for transport in CODECS:
        from_flat({"federation.transport": transport})
    for start in ADAPTERS:
        from_flat({"model.adapter_init": start})
    assert set(training.OBJECTIVES) == set(OBJECTIVES)
    for objective in OBJECTIVES:
        from_flat({"training.objective": objective})


def rounds(backbone: int, alignment: int, routing: int) -> dict[str, Any]:
    names = zip(STAGES, (backbone, alignment, routing), strict=True)
    return {f"stages.{name}.rounds": count for name, count in names}


def test_a_stage_without_the_one_before_it_is_refused() -> None:
    refusal = r"^stages\.alignment\.rounds = 0: must be above 0 .* = 3: .* into noise; .*force=true"
    with pytest.raises(ConfigError, match=refusal):
        from_flat(rounds(9, 0, 3))
    for fine in (rounds(9, 0, 0), rounds(9, 5, 0), rounds(0, 0, 0), rounds(9, 5, 3)):
        from_flat(fine)


def test_force_lets_routing_start_without_alignment() -> None:
    assert from_flat({**rounds(9, 0, 3), "stages.force": True}).stages.force


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(("alignment", "routing"), [(5, 3), (5, 0), (0, 3)])
def test_nothing_stands_in_for_the_backbone(alignment, routing, force) -> None:
    with pytest.raises(ConfigError, match=r"^stages\.backbone\.rounds = 0: must be above 0"):
        from_flat({**rounds(0, alignment, routing), "stages.force": force})


def test_without_a_memory_there_is_nothing_to_align() -> None:
    nothing = {"memory.short_term": 0, "memory.long_term": 0}
    with pytest.raises(ConfigError, match=r"^memory\.short_term = 0: must be above 0 where memory"):
        from_flat(nothing)
    from_flat({**nothing, **rounds(9, 0, 0)})
    from_flat({**nothing, **rounds(9, 0, 3), "stages.force": True})
    for kept in nothing:
        from_flat({**nothing, kept: 1})


def test_heads_divide_the_width() -> None:
    with pytest.raises(ConfigError, match=r"model\.dim = 10: must be a multiple of heads = 4"):
        from_flat({"model.dim": 10, "model.heads": 4})


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Config().model.dim = 3  # type: ignore[misc]


def test_defaults_that_earlier_mistakes_decided() -> None:
    config = Config()
    assert config.model.gate_init >= 0.01  # 1e-4 starved the experts
    assert config.federation.weighting == "examples"  # all alike: .03 NDCG@10
    assert not config.federation.sparse_rows  # rows tell the server whom a cohort met
    assert config.federation.item_averaging == "cohort"  # weights of rows tell as much
    assert config.federation.draw == "windows"  # of the whole history: the newest cost .04 HR@10
    assert config.stages.backbone.windows == 0 and config.training.random_cuts


@pytest.mark.parametrize("parts", ["adapter", "gate,gate", "gate,", " "])
def test_personal_parts_are_known_and_named_once(parts) -> None:
    refused("personal.parts", parts)


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("embedding", {"stages.routing.rounds": 0}),
        ("gate", {"stages.routing.rounds": 0, "stages.alignment.rounds": 0}),
        ("router", {"stages.routing.rounds": 0, "personal.from_stage": "backbone"}),
    ],
)
def test_a_personal_part_needs_a_stage_in_which_it_trains(part, changes) -> None:
    message = f"personal.parts = '{part}': must be without '{part}' where no stage from"
    with pytest.raises(ConfigError, match=message):
        from_flat({"personal.parts": part, **changes})
    trains = {**changes, f"stages.{PERSONAL_PARTS[part]}.rounds": 1}
    trains["personal.from_stage"] = "backbone"
    assert from_flat({"personal.parts": part, **trains}).personal.names == (part,)


def test_the_first_stage_of_a_part_is_the_first_in_which_it_takes_part() -> None:
    assert tuple(REGISTERED) == STAGE_ORDER and PERSONAL_PARTS.keys() == PARTS.keys()
    for part, first in PERSONAL_PARTS.items():
        active = [name for name in REGISTERED if PARTS[part].takes_part(REGISTERED[name].active)]
        assert active == list(STAGE_ORDER[STAGE_ORDER.index(first) :])


@pytest.mark.parametrize(
    ("steps", "rate", "proximal"), [(1, 1.0, 0.1), (2, 1.0, 1.01), (5, 4.0, 0.26)]
)
def test_a_proximal_term_acts_and_does_not_overshoot(steps, rate, proximal) -> None:
    changes = {"training.local_steps": steps, "training.local_learning_rate": rate}
    with pytest.raises(ConfigError, match=rf"^training.proximal = {proximal}: must be "):
        from_flat({**changes, "training.proximal": proximal})
    most = {**changes, "training.local_steps": 2, "training.proximal": 1 / rate}
    assert from_flat(most).training.proximal == 1 / rate


def test_nobody_keeps_anything_unless_asked_to() -> None:
    assert Config().personal.names == ()
    assert from_flat({"personal.parts": "gate, embedding"}).personal.names == ("gate", "embedding")


@pytest.mark.parametrize(
    "further", ["audio,audio", "visual", "collaborative", "audio,", "../audio", "au.dio"]
)
def test_further_modalities_are_names_of_files_each_once(further) -> None:
    refused("model.further", further)


def test_experts_by_the_feature_file_they_read() -> None:
    model = from_flat({"model.visual": "", "model.further": "audio, tags-2"}).model
    assert model.modalities == {"semantic": "text", "audio": "audio", "tags-2": "tags-2"}


@pytest.mark.parametrize(
    ("nodes", "share", "fewest"), [(3, 0.5, 2), (4, 0.5, 2), (3, 1.0, 3), (3, 0.0, 1)]
)
def test_a_run_goes_on_with_the_share_of_a_round_and_never_with_nobody(
    nodes: int, share: float, fewest: int
) -> None:
    found = from_flat({"federation.nodes": nodes, "federation.min_replies": share})
    assert found.federation.fewest_nodes == fewest
