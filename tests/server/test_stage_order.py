"""What a stage starts from: the checkpoint of the one before, and none that is unfit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fedrec.config import Config
from fedrec.errors import CheckpointError, ConfigError
from fedrec.stages import STAGES
from tests.server.stages import checkpoint, resave, run_stages, untrained

Configure = Callable[..., Config]
Federate = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("quiet_flower")


@pytest.mark.parametrize(("stage", "parent"), [("alignment", "backbone"), ("routing", "alignment")])
def test_a_stage_does_not_start_without_its_parent(
    federate: Federate, small_config: Configure, stage: str, parent: str
) -> None:
    runner, grid = federate(small_config())
    queries = len(grid.sent)

    with pytest.raises(CheckpointError, match=rf"no checkpoint .*{parent}"):
        runner.run(STAGES[stage])

    assert len(grid.sent) == queries


FOREIGN: dict[str, tuple[Callable[[Any, Config], None], str]] = {
    "of another stage": (lambda r, c: resave(c, "backbone", stage="routing"), "of stage 'routing'"),
    "another catalogue": (lambda r, c: resave(c, "backbone", catalogue="f" * 64), "catalogue fff"),
    "another model": (
        lambda r, c: resave(
            c, "backbone", config={**checkpoint(c, "backbone").manifest.config, "model.heads": 7}
        ),
        r"model\.heads was 7, now 1",
    ),
    "untrained items": (
        lambda r, c: resave(c, "backbone", untrained(r, c, "item_embedding")),
        "'item_embedding' is as it was initialised",
    ),
    "untrained backbone": (
        lambda r, c: resave(c, "backbone", untrained(r, c, "backbone")),
        "'backbone' is as it was initialised",
    ),
    "not finite": (
        lambda r, c: resave(
            c,
            "backbone",
            {**checkpoint(c, "backbone").arrays, "gate": np.array([np.nan], dtype=np.float32)},
        ),
        "'gate' holds values that are not finite",
    ),
    "damaged": (
        lambda r, c: checkpoint(c, "backbone").path.write_bytes(b"damaged"),
        "is damaged",
    ),
    "without a manifest": (
        lambda r, c: checkpoint(c, "backbone").path.with_suffix(".json").unlink(),
        "no checkpoint manifest",
    ),
}


@pytest.mark.parametrize(("spoil", "reason"), FOREIGN.values(), ids=FOREIGN.keys())
def test_a_stage_does_not_start_from_an_unfit_parent(
    federate: Federate,
    small_config: Configure,
    spoil: Callable[[Any, Config], None],
    reason: str,
) -> None:
    config = small_config({"stages.backbone.rounds": 1})
    runner, _ = federate(config)
    runner.run(STAGES["backbone"])
    spoil(runner, config)

    with pytest.raises(CheckpointError, match=reason):
        runner.run(STAGES["alignment"])


def test_a_backbone_that_never_got_an_update_is_not_built_upon(
    federate: Federate, small_config: Configure
) -> None:
    """A stage whose rounds change nothing ends, and the next one refuses what it left."""
    config = small_config({"stages.backbone.learning_rate": 1e-30})
    runner, _ = federate(config)
    runner.run(STAGES["backbone"])

    with pytest.raises(CheckpointError, match="as it was initialised; stage 'backbone' did not"):
        runner.run(STAGES["alignment"])


BACKBONE_ALONE = {"stages.alignment.rounds": 0, "stages.routing.rounds": 0}


def test_stages_without_rounds_are_left_out(federate: Federate, small_config: Configure) -> None:
    assert list(run_stages(federate, small_config(BACKBONE_ALONE))) == ["backbone"]


def test_routing_starts_without_alignment_only_by_force(
    federate: Federate, small_config: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ConfigError, match="experts that were never aligned"):
        small_config({"stages.alignment.rounds": 0})
    forced = {"stages.alignment.rounds": 0, "stages.force": True}
    config = small_config(forced)

    results = run_stages(federate, config)

    assert {name: part["skipped"] for name, part in results.items()} == {
        "backbone": [],
        "routing": ["alignment"],
    }
    routing, backbone = checkpoint(config, "routing").manifest, checkpoint(config, "backbone")
    assert (routing.skipped, routing.parent) == (["alignment"], backbone.manifest.fingerprint)
    assert "stage routing starts without alignment, by force" in caplog.text


def test_a_forced_stage_needs_a_trained_backbone_too(
    federate: Federate, small_config: Configure
) -> None:
    config = small_config({"stages.alignment.rounds": 0, "stages.force": True})
    runner, _ = federate(config)
    runner.run(STAGES["backbone"])
    resave(config, "backbone", untrained(runner, config, "backbone"))
    with pytest.raises(CheckpointError, match="'backbone' is as it was initialised"):
        runner.run(STAGES["routing"])
