"""systemd itself reads the units and rates what they leave to the service."""

from __future__ import annotations

import re
import subprocess
from shutil import which

import pytest

from fedrec.cli import INTERRUPTED

UNITS = {"server": "fedrec-server.service", "node-1": "fedrec-client.service"}
needs_systemd = pytest.mark.skipif(which("systemd-analyze") is None, reason="no systemd-analyze")


def installed(deployment, name: str) -> str:
    """The unit as it would be installed here, with the folder of this deployment."""
    text = (deployment / name / UNITS[name]).read_text()
    assert f"ExecStart=/etc/fedrec/{name}/start.sh" in text
    return text.replace("/etc/fedrec", str(deployment)).replace("=fedrec\n", "=root\n")


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_the_unit(deployment, name) -> None:
    path = deployment / name / UNITS[name]
    path.write_text(installed(deployment, name))
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True
    )
    assert UNITS[name] not in found.stderr, found.stderr
    assert found.returncode == 0, found.stderr


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_little_to_attack(deployment, name) -> None:
    """`security` says how exposed a service is, from 0 to 10; below 2 it calls it OK."""
    path = deployment / name / UNITS[name]
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(path)]
    found = subprocess.run(command, capture_output=True, text=True)
    if "offline" in found.stderr:
        pytest.skip(f"this systemd-analyze has no --offline: {found.stderr.strip()}")
    rated = re.search(r"exposure level for \S+: ([\d.]+)", found.stdout)
    assert rated is not None, found.stdout + found.stderr
    assert float(rated[1]) < 2.0, found.stdout


@pytest.mark.parametrize("name", UNITS)
def test_a_stop_asks_the_program_alone_and_is_no_failure(made_once, name) -> None:
    lines = (made_once / name / UNITS[name]).read_text().splitlines()
    assert {"KillSignal=SIGINT", "KillMode=mixed", f"SuccessExitStatus={INTERRUPTED}"} < set(lines)


@pytest.mark.parametrize("name", UNITS)
def test_every_setting_stands_once(made_once, name) -> None:
    lines = (made_once / name / UNITS[name]).read_text().splitlines()
    keys = [line.split("=")[0] for line in lines if re.match(r"[A-Z]\w+=", line)]
    repeated = {"Environment", "SystemCallFilter"}
    assert len([k for k in keys if k not in repeated]) == len(set(keys) - repeated)
    assert all(line.isascii() for line in lines)
