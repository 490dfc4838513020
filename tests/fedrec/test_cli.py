"""The program: its commands, its errors and its exit codes."""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from fedrec import cli

ROOT = Path(cli.__file__).parent.parent
Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Registers functions of a module with the given source as commands."""
    monkeypatch.delenv(cli.DEBUG, raising=False)

    def write(source: str) -> None:
        package = f"commands_{tmp_path.name.replace('-', '_')}"
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / "command.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        names = [line[4 : line.index("(")] for line in source.splitlines() if line[:4] == "def "]
        points = [EntryPoint(name, f"{package}.command:{name}", cli.GROUP) for name in names]
        monkeypatch.setattr(cli, "entry_points", lambda group: points)

    return write


def test_help_names_commands_without_importing_them(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install('raise RuntimeError("imported")\ndef train():\n    """Train it."""\n')
    assert cli.run(["--help"]) == 0
    text = capsys.readouterr().out
    assert "train" in text and "Train it." in text


def test_a_command_gets_its_arguments(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install(
        'def train(name: str, fast: bool = False):\n    """Train it."""\n    print(name, fast)\n'
    )
    assert cli.run(["train", "a", "--fast"]) == 0
    assert capsys.readouterr().out == "a True\n"


def test_a_command_has_its_own_help(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install('def train(name: str):\n    """Train it."""\n')
    assert cli.run(["train", "--help"]) == 0
    assert "fedrec train" in capsys.readouterr().out


def test_a_mistake_is_one_line(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install(
        "from fedrec.errors import ConfigError\n"
        'def train():\n    raise ConfigError("run.seed = -1: must be at least 0")\n'
    )
    assert cli.run(["train"]) == 2
    assert capsys.readouterr().err == "error: run.seed = -1: must be at least 0\n"


def test_a_defect_is_one_line_too(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("def train():\n    1 / 0\n")
    assert cli.run(["train"]) == 1
    assert "internal error: ZeroDivisionError" in capsys.readouterr().err


def test_debug_shows_the_traceback(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cli.DEBUG, "0")  # so that it is restored
    install("def train():\n    1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        cli.run(["--debug", "train"])


def test_an_interrupt_is_130(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("def train():\n    raise KeyboardInterrupt\n")
    assert cli.run(["train"]) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


@pytest.mark.parametrize("arguments", [["train", "--fats"], ["trian"]])
def test_a_wrong_word_is_2(
    install: Install, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    install("def train(fast: bool = False):\n    pass\n")
    assert cli.run(arguments) == 2
    assert arguments[-1] in capsys.readouterr().err


def test_a_command_may_choose_its_exit_code(install: Install) -> None:
    install("import typer\ndef train():\n    raise typer.Exit(1)\n")
    assert cli.run(["train"]) == 1


def test_help_of_the_real_commands_imports_neither_torch_nor_flower(tmp_path: Path) -> None:
    info = tmp_path / "fedrec-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fedrec\nVersion: 0\n")
    (info / "entry_points.txt").write_text(
        "[fedrec.commands]\nrun = server.command:run_command\n"
        "server = server.command:server_command\nclient = client.command:client_command\n"
    )
    program = (
        "import sys\nfrom fedrec.cli import run\n"
        "codes = [run([*name, '--help']) for name in ([], ['run'], ['server'], ['client'])]\n"
        "heavy = {'torch', 'flwr', 'numpy', 'ray'} & set(sys.modules)\n"
        "sys.exit(any(codes) or ','.join(heavy) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Train and evaluate a federation simulated on this machine." in done.stdout
