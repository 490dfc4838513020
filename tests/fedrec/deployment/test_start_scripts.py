"""The start commands: run with a program that says what it was called with."""

from __future__ import annotations

import subprocess
from shutil import copytree

import pytest


def run(folder, *arguments: str, **environment: str) -> list[str]:
    """The words that start.sh calls the program with."""
    program = folder.parent / "program with a space"
    program.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    program.chmod(0o700)
    found = subprocess.run(
        [folder / "start.sh", *arguments],
        env={"PATH": "/usr/bin:/bin", "FEDREC": str(program), "CDPATH": "/tmp", **environment},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stderr == ""
    return found.stdout.splitlines()


@pytest.fixture
def carried(deployment):
    """The deployment at a place with a space in its name."""
    return copytree(deployment, deployment.parent / "other machine")


def test_a_client_starts_from_its_folder(carried) -> None:
    node = carried / "node-1"
    words = run(node, "--device", "cuda:0", FEDREC_DATA="/srv/my data")
    assert words == [
        *("client", "--deployment", str(node), "--data", "/srv/my data", "--device", "cuda:0")
    ]
    assert run(node)[3:] == ["--data", "/var/lib/fedrec/data"]


def test_a_server_starts_a_run(carried) -> None:
    server = carried / "server"
    words = run(server, "seed=1", "--force", FEDREC_OUT=str(carried / "run"))
    assert words[:4] == ["server", "--deployment", str(server), "default"]
    assert words[4:] == [
        "data=/var/lib/fedrec/data",
        f"out={carried / 'run'}",
        "federation.nodes=3",
        "seed=1",
        "--force",
    ]
    assert "federation.nodes=2" in run(server, FEDREC_NODES="2", FEDREC_OUT="/nowhere")


def test_a_server_goes_on_with_the_run_that_is_there(carried) -> None:
    (carried / "run").mkdir()
    (carried / "run" / "config.toml").touch()
    words = run(carried / "server", FEDREC_OUT=str(carried / "run"), FEDREC_CONFIG="ml-1m")
    assert words[3:] == ["--resume", f"out={carried / 'run'}"]
