"""The table of the ablation study."""

from __future__ import annotations

import pytest

from fedrec.config import Config, from_flat, to_flat
from fedrec.errors import ConfigError
from variants import DEFAULT, SHUFFLED, VARIANTS, chosen, settings_of, stages_shared

NAMES = chosen([])


@pytest.mark.parametrize("name", NAMES)
def test_every_variant_loads_and_differs_from_the_default(name) -> None:
    settings = settings_of(name, Config())
    assert from_flat(settings) != Config()
    unchanged = {key for key, value in settings.items() if to_flat(Config())[key] == value}
    assert not unchanged - {"stages.force"}


def test_no_two_variants_are_the_same() -> None:
    settings = [tuple(sorted(settings_of(name, Config()).items())) for name in (DEFAULT, *NAMES)]
    assert len(set(settings)) == len(settings)


def test_a_rate_is_halved_and_doubled_from_the_configuration_at_hand() -> None:
    base = from_flat(
        {"stages.backbone.learning_rate": 0.003, "stages.routing.learning_rate": 0.004}
    )
    assert settings_of("rates/backbone.learning_rate-half", base) == {
        "stages.backbone.learning_rate": 0.0015
    }
    assert settings_of("rates/routing.learning_rate-twice", base) == {
        "stages.routing.learning_rate": 0.008
    }


def test_variants_are_chosen_by_group_or_name_in_the_order_of_the_table() -> None:
    gates = [f"gate/{name}" for name in VARIANTS["gate"]]
    assert chosen(["gate"]) == gates
    assert chosen(["gate/none", "router/flat"]) == ["router/flat", "gate/none"]
    assert [f"{group}/{name}" for group, part in VARIANTS.items() for name in part] == NAMES
    with pytest.raises(ConfigError, match=r"'gates' is no variant; variants are stages/backbone"):
        chosen(["gates"])


@pytest.mark.parametrize(
    ("settings", "shared"),
    [
        ({}, ["backbone", "alignment", "routing"]),
        ({"stages.routing.balance_weight": 0.0}, ["backbone", "alignment"]),
        ({"stages.alignment.rounds": 0, "stages.force": True}, ["backbone"]),
        ({"model.router": "flat"}, ["backbone"]),
        ({"memory.long_term": 0, "stages.routing.rounds": 3}, ["backbone"]),
        ({"run.data": SHUFFLED}, ["backbone"]),
        ({"model.max_len": 20}, []),
        ({"training.objective": "bce"}, []),
        ({"federation.optimizer": "fedavg"}, []),
        ({"stages.backbone.negatives": 9, "stages.routing.negatives": 9}, []),
        ({"evaluation.every": 3}, []),
        ({"model.a_setting_to_come": 3}, []),
        ({"stages.a_setting_to_come": 3}, []),
    ],
)
def test_stages_are_shared_up_to_the_first_that_may_differ(settings, shared) -> None:
    assert stages_shared(settings) == shared
