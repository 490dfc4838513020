"""What is said of the data before a run starts."""

from __future__ import annotations

import json
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import typer

from fedrec.data.atomic import write_json
from fedrec.deployment import init_deployment, read_server_folder
from fedrec.errors import FedrecError
from fedrec.monitoring.logs import FORMAT, configure_logs
from fedrec.monitoring.run_state import RunState, read_state
from fedrec.processes import this_process
from fedrec.processes.addresses import split_address
from fedrec.report import RoundLog
from server import launch_run
from server.command import run_command
from server.launch import Launch
from server.launch_run import _check_data
from server.launch_superlink import Door
from server.launch_watch import Outcome

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


def status_of(out: Path, **values: Any) -> None:
    write_json(out / "status.json", RunState(state="running", **values).as_json())


@pytest.mark.parametrize(
    ("signal", "told"),
    [(KeyboardInterrupt(), "stopped by Ctrl-C"), (SystemExit(143), "stopped by a signal")],
)
def test_a_run_whose_launcher_was_stopped_says_so(
    toy_config, toy_data, tmp_path, monkeypatch, capsys, signal, told
) -> None:
    """The server app is killed with everything else, and cannot say it."""

    def interrupted(request: Launch, live: object) -> None:
        (request.out / "config.toml").touch()
        status_of(request.out, doing="training on 3 nodes", round=13, process=this_process())
        raise signal

    monkeypatch.setattr(launch_run, "launch", interrupted)
    with pytest.raises(type(signal)):
        run_command([f"data={toy_data.path}", f"out={tmp_path}/run", *BACKBONE_ALONE])
    state = read_state(tmp_path / "run" / "status.json")
    assert (state.state, state.error, state.round) == ("stopped", told, 13)
    assert f"go on with --resume out={tmp_path}/run" in capsys.readouterr().err


def test_a_run_whose_app_was_killed_says_why(toy_data, tmp_path, monkeypatch, capsys) -> None:
    def died(request: Launch, live: object) -> Outcome:
        status_of(request.out, doing="training on 3 nodes")
        return Outcome(error="the SuperLink ended with code -9")

    monkeypatch.setattr(launch_run, "launch", died)
    with pytest.raises(typer.Exit):
        run_command([f"data={toy_data.path}", f"out={tmp_path}/run", *BACKBONE_ALONE])
    state = read_state(tmp_path / "run" / "status.json")
    assert (state.state, state.error) == ("failed", "the SuperLink ended with code -9")
    assert "the run failed: the SuperLink ended" in capsys.readouterr().err


@pytest.mark.usefixtures("logging_restored")
def test_a_program_that_reads_gets_json_and_metrics(
    toy_data, tmp_path, monkeypatch, capsys
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    scraped = []

    def launched(request: Launch, live: RoundLog) -> Outcome:
        status_of(request.out, process=this_process())
        with live:
            live.show({"stage": "backbone", "round": 1, "rounds": 2, "warnings": ["careful"]})
        with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
            scraped.append(reply.read().decode())
        return Outcome(error=None)

    monkeypatch.setattr(launch_run, "launch", launched)
    monkeypatch.setenv(FORMAT, "json")
    configure_logs()
    settings = [f"data={toy_data.path}", f"out={tmp_path}/run", *BACKBONE_ALONE]
    run_command(settings, metrics=f"127.0.0.1:{port}")
    printed = capsys.readouterr()
    assert printed.out == ""
    said = [json.loads(line) for line in printed.err.splitlines()]
    told = [(line["level"], line["message"]) for line in said]
    assert ("INFO", f"finished; the results are in {tmp_path}/run/results.json") in told
    assert ("WARNING", "careful") in told
    assert {line["run"] for line in said[-4:]} == {"run"}  # from the first word to the last
    assert "fedrec_server_app_up 1.0" in scraped[0]


def test_a_page_that_others_can_read_is_warned_of(tmp_path, capsys) -> None:
    with launch_run._page(tmp_path, "0.0.0.0:0"):
        pass
    assert "whoever reaches it can read it, unencrypted" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["9464", "127.0.0.1:taken"])
def test_a_run_is_not_replaced_for_a_page_that_cannot_be(toy_data, tmp_path, address) -> None:
    old = tmp_path / "run" / "results.json"
    old.parent.mkdir()
    old.touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = address.replace("taken", str(taken.getsockname()[1]))
        settings = [f"data={toy_data.path}", f"out={tmp_path}/run", *BACKBONE_ALONE]
        with pytest.raises(FedrecError, match="--metrics"):
            run_command(settings, force=True, metrics=where)
    assert old.exists()


def test_a_client_is_told_an_address_that_it_can_take(toy_config, tmp_path) -> None:
    told = launch_run._welcome(toy_config(), Door(host="::1", port=8443))
    address = told.rpartition(" ")[2]
    assert split_address(address) == ("::1", 8443)
    init_deployment(tmp_path / "fed", nodes=2, host="2001:db8::7", port=9443)
    folder = read_server_folder(tmp_path / "fed" / "server")
    door = Door(host="::", port=9443, folder=folder)
    assert "waiting at [2001:db8::7]:9443 for" in launch_run._welcome(toy_config(), door)
