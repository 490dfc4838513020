"""What a whole run says of itself, and of nobody else: log lines, its status, its rounds."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, Error, Message, RecordDict

from fedrec.config import Config, to_flat
from fedrec.data import PreparedData
from fedrec.monitoring.logs import FORMAT, configure_logs
from fedrec.monitoring.run_state import RunState, read_state
from fedrec.monitoring.run_summary import summarize
from fedrec.training.node import Node
from server.app import app
from tests.server.stages import metrics_lines

Configure = Callable[..., Config]
Loopback = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("logging_restored")
ROUNDS = {f"stages.{name}.rounds": 1 for name in ("backbone", "alignment", "routing")}
STAGES = ["backbone", "alignment", "routing"]


def run(config: Config, grid: Any) -> None:
    """Call the app as Flower does."""
    app(grid, Context(1, 0, {}, RecordDict(), dict(to_flat(config))))


def lines(printed: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed.splitlines()]


def fails_with_names(*_: object) -> None:
    raise RuntimeError("scores of user003 after item004 are not finite")


def test_no_log_line_names_a_user_or_an_item(
    small_config: Configure,
    loopback: Loopback,
    shop: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither in a run of all stages at level debug, nor where a node fails and says who on."""
    monkeypatch.setenv(FORMAT, "json")
    configure_logs()
    for name in ("fedrec", "server", "client"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    config = small_config(ROUNDS)
    run(config, loopback(config, 2))
    logging.getLogger("client").setLevel(logging.INFO)
    monkeypatch.setattr(Node, "train", fails_with_names)
    longer = {**ROUNDS, "stages.backbone.rounds": 9}
    failing = small_config(longer, run={"out": f"{config.run.out}-failing"})
    with pytest.raises(Exception, match="3 rounds in a row failed"):
        run(failing, loopback(failing, 2))

    said = lines(capsys.readouterr().err)

    assert len(said) > 10
    data = PreparedData.load(shop)
    assert data.num_items == 24
    everybody = re.compile(r"user\d{3}|item\d{3}|PRIVATE KEY")
    assert not [line for line in said if everybody.search(json.dumps(line))]
    failed = [line for line in said if "RuntimeError" in line["message"]]
    assert {line["node"] for line in failed} == {999, 1000}
    assert {line["logger"] for line in failed} == {"client.app", "server.exchange"}


def test_lines_know_run_stage_round_and_node(
    small_config: Configure,
    loopback: Loopback,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(FORMAT, "json")
    config = small_config(ROUNDS)
    grid = loopback(config, 2)
    grid.tamper = refused_from(999)

    run(config, grid)

    said = lines(capsys.readouterr().err)
    closed = [line for line in said if line["logger"] == "server.stage_run"]
    assert [(line["stage"], line["round"]) for line in closed] == [(one, 1) for one in STAGES]
    refused = [line for line in said if "refused" in line["message"]]
    assert [(line["stage"], line["round"], line["node"]) for line in refused] == [
        (one, 1, 999) for one in STAGES for _ in ("at first", "asked once more")
    ]
    assert {line["run"] for line in said} == {"run"}
    assert {line["level"] for line in refused} == {"WARNING"}


def refused_from(node: int) -> Callable[[Message, Message], Message]:
    """Errors instead of what one node has trained."""

    def tamper(message: Message, reply: Message) -> Message:
        training = message.metadata.message_type == "train"
        if reply.metadata.src_node_id != node or not training:
            return reply
        return Message(Error(code=2, reason="broken"), reply_to=message)

    return tamper


def test_rounds_tell_who_was_refused_and_who_was_silent(
    small_config: Configure, loopback: Loopback
) -> None:
    alone = {**ROUNDS, "stages.alignment.rounds": 0, "stages.routing.rounds": 0}
    config = small_config(alone, federation={"nodes": 4, "min_replies": 0.25})
    grid = loopback(config, 4)
    grid.tamper = refused_from(999)
    grid.before = lambda messages: grid.silent.update(
        {998} if messages[0].metadata.message_type == "train" else ()
    )

    run(config, grid)

    (first,) = metrics_lines(config)
    # to train, the one that failed once more; to validate, without the one that was silent
    assert first["asked"] == 4 + 1 + 3
    assert (first["refused"], first["refused_nodes"]) == (2, [999])
    assert first["silent_nodes"] == [998]
    assert first["unanswered"] == 1
    last = summarize(Path(config.run.out)).last_round
    assert last is not None
    assert (last.asked, last.answered, last.refused, last.silent) == (8, 5, [999], [998])


def test_the_status_says_what_is_done(small_config: Configure, loopback: Loopback) -> None:
    config = small_config(ROUNDS)
    grid = loopback(config, 2)
    seen: list[RunState] = []
    grid.before = lambda _: seen.append(read_state(Path(config.run.out) / "status.json"))

    run(config, grid)

    assert [(one.doing, one.stage, one.round) for one in seen] == [
        ("waiting for 2 nodes", None, None),
        *(
            said
            for stage in STAGES
            for said in (
                ("training on 2 nodes", stage, 1),
                ("validating on 2 nodes", stage, 1),
                ("testing on 2 nodes", stage, 1),
            )
        ),
    ]
    assert summarize(Path(config.run.out)).state == "finished"
