"""The `fedrec` program: collects the commands of all packages and runs one of them."""

from __future__ import annotations

import ast
import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NoReturn

import click
import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from fedrec.errors import FedrecError
from fedrec.monitoring.logs import LogFormat, LogLevel, announce, choose_logs

GROUP = "fedrec.commands"
DEBUG = "FEDREC_DEBUG"
INTERRUPTED = 130


class LazyCommands(TyperGroup):
    """The commands that installed packages register, each imported only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(point.name for point in entry_points(group=GROUP))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A stand-in that knows the command's name and what it is for."""
        point = _entry_point(cmd_name)
        return None if point is None else TyperCommand(cmd_name, help=summary(point))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        point = _entry_point(name or "")
        return name, (None if point is None else load_command(point)), rest


def summary(point: EntryPoint) -> str:
    """First line of the command's docstring, read from its source: importing it could be slow."""
    package, *path = point.module.split(".")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return ""
    source = Path(spec.origin).parent.joinpath(*path).with_suffix(".py")
    for node in ast.parse(source.read_text(encoding="utf-8")).body if source.exists() else ():
        if isinstance(node, ast.FunctionDef) and _describes(node, point.attr):
            return (ast.get_docstring(node) or "").split("\n\n")[0]
    return ""


def _describes(function: ast.FunctionDef, name: str) -> bool:
    """Whether it is the command `name` itself, or the callback of the group `name` of commands."""
    callbacks = [ast.unparse(decorator) for decorator in function.decorator_list]
    return function.name == name or f"{name}.callback()" in callbacks


def load_command(point: EntryPoint) -> click.Command:
    """Import what is registered: a function becomes a command, a Typer app brings its own."""
    loaded = point.load()
    if isinstance(loaded, typer.Typer):
        return get_command(loaded)
    single = typer.Typer(add_completion=False)
    single.command(point.name)(loaded)
    return get_command(single)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code.

    1: it failed; 2: a mistake that the message names (a FedrecError, a wrong option); 130: Ctrl-C.
    """
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """The exit code of `fedrec ARGUMENTS`. When debugging, errors pass through instead."""
    code = _run(arguments)
    if code == INTERRUPTED:
        _print_red("interrupted")
    return code


def _run(arguments: Sequence[str]) -> int:
    try:
        result = get_command(app).main(list(arguments), "fedrec", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:
        if os.environ.get(DEBUG) == "1":
            raise
        return _failed(error)
    return result if isinstance(result, int) else 0


def _failed(error: Exception) -> int:
    if isinstance(error, FedrecError):
        _print_red(f"error: {error}")
        return 2
    _print_red(f"internal error: {type(error).__name__}: {error} (fedrec --debug shows where)")
    return 1


def _print_red(message: str) -> None:
    announce(message, logging.ERROR)


def _entry_point(name: str) -> EntryPoint | None:
    return next((point for point in entry_points(group=GROUP) if point.name == name), None)


app = typer.Typer(
    cls=LazyCommands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _fedrec(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks (also: FEDREC_DEBUG=1).")
    ] = False,
    log_format: Annotated[
        LogFormat | None, typer.Option(help="Of log lines; human by default (also: FEDREC_LOG).")
    ] = None,
    log_level: Annotated[
        LogLevel | None, typer.Option(help="info by default (also: FEDREC_LOG_LEVEL).")
    ] = None,
) -> None:
    """Federated multimodal recommendation: people's histories stay where they are."""
    if debug:
        os.environ[DEBUG] = "1"
    choose_logs(log_format, log_level)
