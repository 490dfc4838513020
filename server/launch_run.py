"""One run from its settings to its table."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import IO

import typer
from rich.console import Console

from fedrec.config import Config
from fedrec.monitoring.log_context import log_context
from fedrec.monitoring.logs import announce, logs_are_json
from fedrec.processes import is_loopback, last_lines, require_free_port
from fedrec.processes.addresses import join_address
from fedrec.report import Live, RoundLog, print_results
from server.launch import Launch, launch
from server.launch_again import launch_again
from server.launch_app import write_app
from server.launch_config import read_config
from server.launch_door import check_places
from server.launch_folder import CONFIG, LOG, RESULTS, STATUS, run_folder
from server.launch_superlink import Door
from server.status_file import note_end

RESTARTS = 3
"""How often in a row a server's processes may be killed without a round in between."""


def run_federation(
    settings: Sequence[str],
    *,
    resume: bool,
    force: bool,
    door: Door | None,
    metrics: str | None = None,
) -> None:
    """Launch what the settings ask for and report it.

    door: where real clients come in; None = simulate them. metrics: HOST:PORT of a page
    of metrics. Raises FedrecError for anything wrong with the settings before anything is started,
    typer.Exit(1) when the run fails.
    """
    config = read_config(settings, resume=resume)
    _check_data(config)
    if door is not None:
        check_places(door, config)
        require_free_port(door.host, door.port)
    out = Path(config.run.out)
    with log_context(run=out.name), _page(out, metrics):
        with run_folder(config, force=force) as log, _told_if_stopped(out):
            start = log.tell()
            outcome = launch_again(
                config,
                lambda asked: launch(_request(asked, log, door), _live(_welcome(asked, door))),
                RESTARTS if door is not None else 0,
                _warn,
            )
            if outcome.error is not None:
                note_end(out / STATUS, "failed", outcome.error)
                _report_failure(outcome.error, out / LOG, start)
                raise typer.Exit(1)
        _report_results(out)


def _report_results(out: Path) -> None:
    if logs_are_json():
        announce(f"finished; the results are in {out / RESULTS}")
    else:
        print_results(out, Console())


def _page(out: Path, address: str | None) -> AbstractContextManager[object]:
    if address is None:
        return nullcontext()
    from fedrec.monitoring.metrics_page import metrics_page, split_address

    if not is_loopback(split_address(address)[0]):
        announce(
            f"--metrics {address}: whoever reaches it can read it, unencrypted", logging.WARNING
        )
    return metrics_page(out, address)


def _request(config: Config, log: IO[bytes], door: Door | None) -> Launch:
    return Launch(
        write_app=partial(write_app, config=config),
        out=Path(config.run.out),
        log=log,
        simulated_nodes=config.federation.nodes if door is None else None,
        door=door,
        threads=config.run.threads,
    )


def _live(welcome: str) -> Live | RoundLog:
    return RoundLog(welcome) if logs_are_json() else Live(Console(), welcome)


def _welcome(config: Config, door: Door | None) -> str:
    nodes = config.federation.nodes
    if door is None:
        return f"starting a simulation of {nodes} nodes"
    if door.folder is None:
        address = join_address(door.host, door.port)
        start = f"fedrec client --data DIR --insecure --server {address}"
        return f"waiting for {nodes} clients; start each with: {start}"
    address = join_address(door.folder.host, door.port)
    allowed, start = len(door.folder.nodes), "fedrec client --data DIR --deployment DIR/NODE"
    return (
        f"waiting at {address} for {nodes} of the {allowed} allowed nodes; start each with: {start}"
    )


@contextmanager
def _told_if_stopped(out: Path) -> Iterator[None]:
    """Where a signal ends the launcher, all it started is gone: say so for the server app."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as signal:
        by = "Ctrl-C" if isinstance(signal, KeyboardInterrupt) else "a signal"
        note_end(out / STATUS, "stopped", f"stopped by {by}")
        if (out / CONFIG).exists():
            announce(f"stopped; go on with --resume out={out}", logging.WARNING)
        raise


def _check_data(config: Config) -> None:
    """Raise DataError for data that cannot be read; warn of experts that are missing or blind."""
    from fedrec.data import PreparedData
    from fedrec.quality import lift_warnings

    data = PreparedData.load(config.run.data)
    wanted = config.model.modalities
    for expert, feature in wanted.items():
        if feature not in data.features:
            there = ", ".join(sorted(data.features)) or "none"
            _warn(
                f"{config.run.data} has no features {feature!r} (it has: {there}): the {expert} "
                f"expert is left out; {_without(expert)} says that this is meant"
            )
    if data.num_users and (config.stages.alignment.rounds or config.stages.routing.rounds):
        for warning in lift_warnings(data, wanted.values()):
            _warn(warning)


def _warn(text: str) -> None:
    announce(text, logging.WARNING)


def _without(expert: str) -> str:
    return (
        f'model.{expert}=""' if expert in ("visual", "semantic") else "a model.further without it"
    )


def _report_failure(error: str, log: Path, start: int) -> None:
    """The reason on one line, the end of this run's part of the log, and where the rest is."""
    announce(f"the run failed: {error}", logging.ERROR)
    for line in () if logs_are_json() else last_lines(log, start):
        typer.echo(f"  {line}", err=True)
    announce(f"The whole log is {log}", logging.WARNING)
