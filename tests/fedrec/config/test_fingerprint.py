"""What machines may differ in, and what they may not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fedrec.config import from_flat, settings_fingerprint, to_flat
from fedrec.config.fingerprint import OF_ONE_MACHINE


def test_a_machine_may_differ_in_its_own_settings() -> None:
    flat = {**to_flat(from_flat({})), "run.data": "/elsewhere", "run.device": "cuda"}
    assert settings_fingerprint(from_flat(flat)) == settings_fingerprint(from_flat({}))
    assert to_flat(from_flat({})).keys() >= OF_ONE_MACHINE


@pytest.mark.parametrize("key", ["run.seed", "stages.backbone.dropout", "stages.routing.windows"])
def test_every_other_setting_counts(key: str) -> None:
    value = to_flat(from_flat({}))[key]
    changed = from_flat({key: value / 2 if isinstance(value, float) else int(value) + 1})
    assert settings_fingerprint(changed) != settings_fingerprint(from_flat({}))


def test_the_fingerprint_is_a_sha256() -> None:
    config = from_flat({})
    assert len(settings_fingerprint(config)) == 64
    assert settings_fingerprint(replace(config)) == settings_fingerprint(config)
