"""The container files, read by their linters, and that docs and files speak of the same things."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fedrec.deployment import init_deployment

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "deployment"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


def program(name: str) -> str:
    """A program of this environment; skips the test where it is not installed."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    command = [program("hadolint"), "--failure-threshold", "info", str(FOLDER / "Dockerfile")]
    found = subprocess.run(command, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, ""), found.stdout + found.stderr


def test_the_compose_file_has_the_specifications_schema() -> None:
    command = [program("check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    found = subprocess.run([*command, str(FOLDER / "compose.yaml")], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_image_is_made_of_what_is_there() -> None:
    text = (FOLDER / "Dockerfile").read_text()
    copied = [
        word
        for line in re.findall(r"^COPY (?!--from)(.*)", text, re.M)
        for word in line.split()[:-1]
    ]
    allowed = re.findall(r"^!(.+)", (FOLDER / "Dockerfile.dockerignore").read_text(), re.M)
    assert sorted(copied) == sorted(allowed)
    assert all((ROOT / name).exists() for name in copied)
    dynamic = re.search(
        r"packages\.find\.include = (\[.*\])", (ROOT / "pyproject.toml").read_text()
    )
    assert dynamic is not None
    packages = {name.strip("*") for name in re.findall(r'"([^"]+)"', dynamic[1])}
    assert packages <= set(copied)


def test_every_service_starts_from_a_folder_that_init_makes(tmp_path) -> None:
    names = init_deployment(tmp_path / "keys", nodes=3, host="server")
    assert list(SERVICES) == ["server", *names]
    for name, service in SERVICES.items():
        volumes = dict(volume.split(":", 2)[:2] for volume in service["volumes"])
        assert volumes[f"./keys/{name}"] == f"/etc/fedrec/{name}"
        assert volumes[f"./parts/{name}"] == "/var/lib/fedrec/data"
        assert service["entrypoint"] == [f"/etc/fedrec/{name}/start.sh"]
        assert (tmp_path / "keys" / name / "start.sh").stat().st_mode & 0o777 == 0o700


def test_every_service_has_no_more_rights_than_it_needs() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"] == "10001:10001"
        keys = [volume for volume in service["volumes"] if "/etc/fedrec/" in volume]
        assert all(volume.endswith(":ro") for volume in keys)
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["server"]
