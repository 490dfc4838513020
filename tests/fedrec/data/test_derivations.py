from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from fedrec.data import PreparedData
from fedrec.data.command import prepare_command


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(prepare_command)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_cold(run, toy_data, tmp_path) -> None:
    asked = ("cold", "--source", toy_data.path, "--out", "c", "--share", "0.2", "--seed", "4")
    result = run(*asked)
    assert result.exit_code == 0, result.output
    assert ["of", "these", "new", "8"] in [line.split() for line in result.output.splitlines()]
    again = run(*asked)
    assert again.exit_code == 0 and "the same folder with the same settings" in again.output
    assert run(*asked[:-1], "5").exit_code == 1
    assert run(*asked[:-1], "5", "--force").exit_code == 0
    assert PreparedData.load(tmp_path / "c").manifest["settings"]["seed"] == 5


def test_add_items(run, toy_data, tmp_path) -> None:
    (tmp_path / "new.csv").write_text("sku,title\nx,X\n")
    asked = ("add-items", "--source", toy_data.path, "--out", "a", "--items", "new.csv")
    result = run(*asked, "--item-column", "sku")
    assert result.exit_code == 0, result.output
    assert PreparedData.load(tmp_path / "a").item_keys()[-1] == "x"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["cold", "--out", "o"], "prepare cold needs --source"),
        (["cold", "--source", "s"], "prepare cold needs --out"),
        (["add-items", "--source", "s", "--out", "o"], "prepare add-items needs --items"),
        (["cold", "--source", "s", "--out", "o", "--split", "given"], "does not know --split"),
        (["add-items", "--source", "s", "--out", "o", "--items", "i", "--seed", "1"], "know --s"),
        (["ml-100k", "--share", "0.1"], "--share belongs to prepare cold, not to ml-100k"),
        (["cold", "--source", "nowhere", "--out", "o"], "nowhere: no such folder"),
    ],
)  # fmt: skip
def test_options_that_are_missing_or_of_other_names(run, arguments, message) -> None:
    result = run(*arguments)
    assert result.exit_code == 1 and message in result.stderr
