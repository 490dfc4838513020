"""The variants of the ablation study: what each changes, and from which stage on that matters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fedrec.config import Config, to_flat
from fedrec.config.loading import Scalar
from fedrec.errors import ConfigError
from fedrec.stages import STAGES

DEFAULT = "default"
SHUFFLED = "shuffled"
"""In place of a folder as `run.data`: a copy of it whose items have exchanged their features."""
ALONE: dict[str, Value] = {"stages.alignment.rounds": 0, "stages.routing.rounds": 0}
UNALIGNED: dict[str, Value] = {"stages.alignment.rounds": 0, "stages.force": True}


@dataclass(frozen=True)
class Times:
    """In place of a value: so many times that of the configuration compared with."""

    factor: float


Value = Scalar | Times
WITHOUT_IDS: dict[str, Value] = {"model.collaborative": False, "model.transitions": 0}
RATES = (
    "backbone.learning_rate backbone.backbone_rate alignment.learning_rate "
    "routing.learning_rate routing.backbone_rate"
).split()


def _half_and_twice(key: str) -> dict[str, dict[str, Value]]:
    """Two variants of a rate."""
    return {
        f"{key}-half": {f"stages.{key}": Times(0.5)},
        f"{key}-twice": {f"stages.{key}": Times(2.0)},
    }


def _rate(value: float) -> dict[str, Value]:
    """The learning rate of all stages: other optimisers take steps of another size."""
    return {f"stages.{stage}.learning_rate": value for stage in STAGES}


VARIANTS: dict[str, dict[str, dict[str, Value]]] = {
    "stages": {
        "backbone-alone": ALONE,
        "without-routing": {"stages.routing.rounds": 0},
        "without-alignment": UNALIGNED,
    },
    "experts": {
        "visual-alone": {"model.semantic": "", "model.collaborative": False},
        "semantic-alone": {"model.visual": "", "model.collaborative": False},
        "collaborative-alone": {"model.visual": "", "model.semantic": ""},
        "without-collaborative": {"model.collaborative": False},
        "text-only": {"model.visual": ""},  # beside the collaborative expert
        "image-only": {"model.semantic": ""},
    },
    "memory": {
        "none": {**UNALIGNED, "memory.short_term": 0, "memory.long_term": 0},
        "short-term": {"memory.long_term": 0},
        "short-term-as-large": {"memory.short_term": 50, "memory.long_term": 0},
        "long-term": {"memory.short_term": 0},
    },
    "transitions": {
        "none": {"model.transitions": 0},
    },
    "router": {
        "flat": {"model.router": "flat"},
        "without-balance": {"stages.routing.balance_weight": 0.0},
    },
    "gate": {
        "frozen-small": {"model.gate": "frozen", "model.gate_init": 0.1},
        "none": {"model.gate": "none"},
    },
    "attention": {
        "history": {"model.attention": "history"},
    },
    "start": {
        "random": {"model.adapter_init": "random"},
        "squeezed-64": {"model.squeeze": 64},
    },
    "losses": {
        "without-contrastive": {"stages.alignment.contrastive_weight": 0.0},
        "without-surprise": {"stages.alignment.surprise": 0.0},
        "sampled-softmax": {"training.objective": "sampled_softmax"},
        "bce": {"training.objective": "bce"},
        "gbce": {"training.objective": "gbce"},
        "in-batch": {"training.objective": "in_batch"},
        "negatives-10": {f"stages.{stage}.negatives": 10 for stage in STAGES},
        "negatives-50": {f"stages.{stage}.negatives": 50 for stage in STAGES},
        "negatives-800": {f"stages.{stage}.negatives": 800 for stage in STAGES},
    },
    "training": {
        "fedyogi": {"federation.optimizer": "fedyogi"},
        "fedadagrad": {"federation.optimizer": "fedadagrad", **_rate(0.06)},
        "fedavg-1": {"federation.optimizer": "fedavg", **_rate(1.0)},
        "fedavg-10": {"federation.optimizer": "fedavg", **_rate(10.0)},
        "fedavgm-1": {"federation.optimizer": "fedavgm", **_rate(1.0)},
        "local-steps-2": {"training.local_steps": 2},
        "local-steps-5": {"training.local_steps": 5},
        "cohort-32": {"federation.users_per_round": 32},
        "cohort-512": {"federation.users_per_round": 512},
        "length-20": {"model.max_len": 20},
        "length-100": {"model.max_len": 100},
        "length-200": {"model.max_len": 200},
        "weights-alike": {"federation.weighting": "uniform"},
    },
    "rates": {name: one for key in RATES for name, one in _half_and_twice(key).items()},
    "control": {
        "shuffled-features": {"run.data": SHUFFLED},
        # What is known of ids is not shuffled; these two show what content is worth alone.
        "without-ids": WITHOUT_IDS,
        "shuffled-without-ids": {"run.data": SHUFFLED, **WITHOUT_IDS},
    },
}

_EXPERTS = "visual semantic further collaborative router time_scales adapter router_rank".split()
_EXPERTS += "gate_init gate attention adapter_init squeeze transition_gate_init".split()
_FROM_ALIGNMENT = {"run.data", "stages.force", *(f"model.{key}" for key in _EXPERTS)}


def settings_of(name: str, base: Config) -> dict[str, Scalar]:
    """What a variant, GROUP/NAME, changes of a configuration; nothing for the default."""
    group, _, variant = name.partition("/")
    flat, changed = to_flat(base), {} if name == DEFAULT else VARIANTS[group][variant]
    return {
        key: float(flat[key]) * value.factor if isinstance(value, Times) else value
        for key, value in changed.items()
    }


def chosen(only: Iterable[str]) -> list[str]:
    """GROUP/NAME of the variants asked for by GROUP or GROUP/NAME, all where nothing is asked for.

    Raises ConfigError for what is neither.
    """
    names = {group: [f"{group}/{name}" for name in part] for group, part in VARIANTS.items()}
    every = [name for part in names.values() for name in part]
    wanted: set[str] = set()
    for word in only:
        if word not in names and word not in every:
            raise ConfigError(f"{word!r} is no variant; variants are {', '.join(every)}")
        wanted |= set(names.get(word, [word]))
    return [name for name in every if name in wanted or not wanted]


def stages_shared(settings: Mapping[str, Scalar]) -> list[str]:
    """The stages, from the first, that compute with these settings what they do by default."""
    first = min(map(_first_reader, settings), default=len(STAGES))
    return list(STAGES)[:first]


def _first_reader(key: str) -> int:
    """The place of the first stage that a setting may make a difference to; 0 where in doubt."""
    section, name = key.split(".")[:2]
    stage = name if section == "stages" else ""
    if key in _FROM_ALIGNMENT or section == "memory":
        stage = "alignment"
    return list(STAGES).index(stage) if stage in STAGES else 0
