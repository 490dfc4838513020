"""What is said of the data before a run starts."""

from __future__ import annotations

import pytest

from server.launch_run import _check_data

BACKBONE_ALONE = ("stages.alignment.rounds=0", "stages.routing.rounds=0")


def test_features_without_signal_are_warned_of(toy_config, toy_data, capsys) -> None:
    """The toy features are random numbers."""
    _check_data(toy_config(f"data={toy_data.path}"))
    warned = capsys.readouterr().err
    for name in ("image", "text"):
        assert f"{name}: no lift over unseen items of the same popularity" in warned
    assert "audio" not in warned  # no expert reads it


def test_what_no_stage_reads_is_not_looked_at(toy_config, toy_data, capsys) -> None:
    _check_data(toy_config(f"data={toy_data.path}", *BACKBONE_ALONE))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("setting", "expert", "remedy"),
    [
        ("model.visual=clip", "visual", 'model.visual=""'),
        ("model.further=clip", "clip", "a model.further without it"),
    ],
)
def test_features_that_are_not_there_are_warned_of(
    toy_config, toy_data, capsys, setting, expert, remedy
) -> None:
    _check_data(toy_config(f"data={toy_data.path}", setting, *BACKBONE_ALONE))
    warned = capsys.readouterr().err
    assert "has no features 'clip' (it has: audio, image, text)" in warned
    assert f"the {expert} expert is left out; {remedy} says that this is meant" in warned
