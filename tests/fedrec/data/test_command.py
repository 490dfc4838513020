from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from fedrec.data.command import prepare_command
from fedrec.data.registry import DATASETS

REPOSITORY = Path(__file__).parents[3]
SHOP = ["--user-column", "who", "--item-column", "what", "--min-interactions", "2"]


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(prepare_command)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_summary(run, small_csv, tmp_path, feature_arrays) -> None:
    feature_arrays(tmp_path / "f", "text", {"tea": [1, 0]})
    result = run("csv", "--source", small_csv, "--features", "f", *SHOP, "--time-column", "when")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.output.splitlines()]
    assert ["users", "3"] in lines and ["interactions", "8"] in lines and ["shop"] in lines
    assert any(line[:3] == ["text", "features", "33.3%"] for line in lines)
    # a file of one's own gives the folder its name
    assert (tmp_path / "data" / "shop" / "manifest.json").is_file()


def test_again(run, small_csv) -> None:
    arguments = ("csv", "--source", small_csv, *SHOP, "--time-column", "when")
    run(*arguments)
    result = run(*arguments)
    assert result.exit_code == 0 and "nothing to do" in result.output
    assert run(*arguments, "--repeats", "keep").exit_code == 1
    assert run(*arguments, "--repeats", "keep", "--force").exit_code == 0


def test_every_option_reaches_the_manifest(run, small_csv, tmp_path) -> None:
    (tmp_path / "items.csv").write_text("what\ntea\n")
    options = ["--position-column", "when", "--items", "items.csv", "--no-require-image"]
    times = ["--validation-quantile", "0.3", "--test-quantile", "0.4"]
    result = run("csv", "--source", small_csv, "--out", "o", *SHOP, *options, *times)
    assert result.exit_code == 0, result.output
    manifest = (tmp_path / "o" / "manifest.json").read_text()
    for part in ('"position": "when"', '"validation_quantile": 0.3', '"test_quantile": 0.4'):
        assert part in manifest
    given = ["--split", "global-time", "--validation-time", "20", "--test-time", "60"]
    result = run("csv", "--source", small_csv, "--out", "g", *SHOP, "--time-column", "when", *given)
    assert result.exit_code == 0 and '"test_time": 60' in (tmp_path / "g/split.json").read_text()


def test_the_help_names_every_data_set(run) -> None:
    text = run("--help").output
    assert [name for name in DATASETS if name not in text] == []


def test_errors_in_words(run, small_csv) -> None:
    result = run("csv", "--source", small_csv, *SHOP)
    assert result.exit_code == 1
    assert "nothing says in which order" in result.stderr and "Traceback" not in result.output
    result = run("ml-3m")
    assert result.exit_code == 1 and "unknown data set 'ml-3m'" in result.stderr
    result = run("csv")
    assert result.exit_code == 1 and "nothing to download" in result.stderr


def test_no_network_names_what_to_put_where(run, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("FEDREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("urllib.request.urlopen", _no_network)
    result = run("ml-1m")
    assert result.exit_code == 1
    assert f"put it at {tmp_path / 'cache' / 'ml-1m.zip'}" in result.stderr
    assert "https://files.grouplens.org/datasets/movielens/ml-1m.zip" in result.stderr


def _no_network(*args: object, **kwargs: object) -> None:
    raise OSError("network is unreachable")


SLOW = """
import time
import fedrec.data.preparation as module
from fedrec.data.command import prepare_command
import typer
def wait(*args, **kwargs):
    print("writing", flush=True)
    time.sleep(60)
module.write_manifest = wait
app = typer.Typer()
app.command()(prepare_command)
app()
"""


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_leaves_nothing(small_csv, tmp_path, stop) -> None:
    out = tmp_path / "prepared" / "shop"
    arguments = ["csv", "--source", str(small_csv), "--out", str(out), *SHOP]
    command = [sys.executable, "-c", SLOW, *arguments, "--time-column", "when"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"writing\n"
        process.send_signal(stop)
    assert process.returncode != 0 and list(out.parent.iterdir()) == []
