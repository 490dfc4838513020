from __future__ import annotations

from dataclasses import fields

import pytest

from fedrec.config import Config, StageConfig
from fedrec.errors import ConfigError
from fedrec.model.feddmmr import groups
from fedrec.stages import STAGES, Stage, stage_groups, without_parents

GROUPS = (
    "item_embedding",
    "backbone",
    "visual_expert",
    "semantic_expert",
    "fusion",
    "router",
    "gate",
    "transition_gate",
)


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("backbone", {"item_embedding", "backbone"}),
        ("alignment", {"visual_expert", "semantic_expert", "fusion", "gate", "transition_gate"}),
        ("routing", set(GROUPS) - {"item_embedding"}),
    ],
)
def test_what_each_stage_trains(stage, expected) -> None:
    found = stage_groups(STAGES[stage], GROUPS)
    assert set(found) == expected
    assert list(found) == [group for group in GROUPS if group in expected]  # the model's order


def test_groups_are_whole_names_never_parts_of_names() -> None:
    """A filter by a part of a name once dropped the item embedding."""
    stage = Stage(name="odd", trains=("backbone",), active=STAGES["backbone"].active)
    assert stage_groups(stage, ("backbone_old", "old_backbone", "backbone")) == ("backbone",)
    with pytest.raises(ConfigError, match="stage odd trains 'backbone'"):
        stage_groups(stage, ("backbone_old",))


def test_a_model_without_experts_cannot_be_aligned() -> None:
    with pytest.raises(ConfigError, match=r"stage alignment trains '\*_expert'; the model has"):
        stage_groups(STAGES["alignment"], ("item_embedding", "backbone", "fusion", "gate"))


@pytest.mark.parametrize("group", ["gate", "fusion", "transition_gate"])
def test_what_has_nothing_to_learn_is_missed_by_no_stage(group) -> None:
    constant = tuple(other for other in GROUPS if other != group)
    for stage in STAGES.values():
        expected = tuple(other for other in stage_groups(stage, GROUPS) if other != group)
        assert stage_groups(stage, constant) == expected


def test_a_stage_that_is_forced_starts_from_the_nearest_ancestor_there_is() -> None:
    routing = STAGES["routing"]
    assert without_parents(routing, []) == (routing, ())
    forced, skipped = without_parents(routing, ["alignment"])
    assert (forced.parent, skipped) == ("backbone", ("alignment",))
    assert (forced.name, forced.trains) == (routing.name, routing.trains)
    assert without_parents(routing, ["alignment", "backbone"])[0].parent is None
    assert without_parents(STAGES["backbone"], STAGES) == (STAGES["backbone"], ())


def test_stages_stand_under_their_names_and_after_their_parents() -> None:
    earlier: list[str] = []
    for name, stage in STAGES.items():
        assert stage.name == name
        assert stage.parent is None if not earlier else stage.parent in earlier
        earlier.append(name)


def test_every_stage_has_its_section_in_the_same_order() -> None:
    stages = Config().stages
    named = [item.name for item in fields(stages)]
    assert list(STAGES) == [n for n in named if isinstance(getattr(stages, n), StageConfig)]


def test_a_router_without_experts_makes_no_sense() -> None:
    assert all(stage.active.experts or not stage.active.router for stage in STAGES.values())


@pytest.mark.parametrize("name", STAGES)
def test_what_trains_takes_part_in_the_scores(name, toy_config, toy_model) -> None:
    """Else a group would be trained by nothing."""
    stage = STAGES[name]
    found = set(stage_groups(stage, groups(toy_model(toy_config()))))
    experts = {"fusion", "gate"} | {group for group in found if group.endswith("_expert")}
    if not stage.active.experts:
        assert not found & experts
    if not stage.active.router:
        assert "router" not in found
