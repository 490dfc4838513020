"""One line a stage. A new stage is a new entry and its section in the configuration."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from fedrec.errors import ConfigError
from fedrec.model.feddmmr import Active


@dataclass(frozen=True, kw_only=True)
class Stage:
    """trains: names of groups; `*_expert` stands for every expert's group. optional: those of them
    that a model may lack, as where a part of it is constant. active: the parts of the model that
    take part in its scores. parent: the stage whose checkpoint it starts from.
    """

    name: str
    trains: tuple[str, ...]
    active: Active
    optional: tuple[str, ...] = ()
    parent: str | None = None


STAGES = {
    "backbone": Stage(
        name="backbone",
        trains=("item_embedding", "backbone"),
        active=Active(experts=False, router=False),
    ),
    "alignment": Stage(
        name="alignment",
        trains=("*_expert", "fusion", "gate", "transition_gate"),
        optional=("fusion", "gate", "transition_gate"),
        active=Active(experts=True, router=False),
        parent="backbone",
    ),
    "routing": Stage(
        name="routing",
        trains=("router", "*_expert", "fusion", "gate", "transition_gate", "backbone"),
        optional=("fusion", "gate", "transition_gate"),
        active=Active(experts=True, router=True),
        parent="alignment",
    ),
}


def stage_groups(stage: Stage, groups: Iterable[str]) -> tuple[str, ...]:
    """The model's groups that a stage trains, in the model's order.

    Raises ConfigError if the model lacks a group that the stage names and that is not optional.
    """
    present = tuple(groups)
    matched = {pattern: _matching(pattern, present) for pattern in stage.trains}
    for pattern, names in matched.items():
        if not names and pattern not in stage.optional:
            raise ConfigError(f"stage {stage.name} trains {pattern!r}; the model has {present}")
    wanted = {name for names in matched.values() for name in names}
    return tuple(name for name in present if name in wanted)


def without_parents(stage: Stage, left_out: Collection[str]) -> tuple[Stage, tuple[str, ...]]:
    """The stage with the nearest ancestor that is not left out as its parent, and which were."""
    parent, skipped = stage.parent, list[str]()
    while parent is not None and parent in left_out:
        skipped.append(parent)
        parent = STAGES[parent].parent
    return replace(stage, parent=parent), tuple(skipped)


def _matching(pattern: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    if pattern.startswith("*"):
        return tuple(group for group in groups if group.endswith(pattern[1:]))
    return tuple(group for group in groups if group == pattern)
