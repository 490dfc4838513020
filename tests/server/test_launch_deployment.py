"""A real SuperLink with two real SuperNodes on loopback, running a small app."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedrec.processes import free_port

ROOT = Path(__file__).parents[2]
PROJECT = """
[project]
name = "stub"
version = "1.0.0"
[tool.flwr.app]
publisher = "fedrec"
[tool.flwr.app.components]
serverapp = "stub_server:app"
clientapp = "stub_client:app"
[tool.flwr.app.config]
out = '{out}'
"""
SERVER = """
import json
import time
from flwr.app import Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()

@app.main()
def main(grid, context):
    while len(nodes := list(grid.get_node_ids())) < 2:
        time.sleep(0.2)
    messages = [Message(RecordDict(), dst_node_id=node, message_type="train") for node in nodes]
    answers = [dict(reply.content["answer"]) for reply in grid.send_and_receive(messages)]
    with open(context.run_config["out"] + "/metrics.jsonl", "a") as file:
        file.write(json.dumps({"stage": "x", "round": 1, "rounds": 1, "answers": answers}) + "\\n")
"""
CLIENT = """
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.train()
def train(message, context):
    return Message(
        RecordDict({"answer": ConfigRecord(dict(context.node_config))}), reply_to=message
    )
"""
START_SERVER = """
import sys
from pathlib import Path
from rich.console import Console
from fedrec.report import Live
from server.launch import Launch, launch
from server.launch_superlink import Door

out, port = Path(sys.argv[1]), int(sys.argv[2])
with (out / "flower.log").open("ab") as log:
    request = Launch(
        write_app=lambda folder: out / "app", out=out, log=log, simulated_nodes=None,
        door=Door(host="127.0.0.1", port=port),
    )
    print("outcome:", launch(request, Live(Console(), "waiting")).error)
"""
START_CLIENT = """
import sys
from pathlib import Path
from client import launch

launch._check_data = lambda data: None
launch.GONE_S = 2.0
launch.run_client(launch.Client(data=Path("/it's mine"), server=sys.argv[1], partition=sys.argv[2]))
"""


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_server_and_clients_run_an_app_and_end(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "pyproject.toml").write_text(PROJECT.format(out=tmp_path))
    (app / "stub_server.py").write_text(SERVER)
    (app / "stub_client.py").write_text(CLIENT)
    port = free_port()
    clients = [start(START_CLIENT, f"127.0.0.1:{port}", f"{index}/2") for index in range(2)]
    server = start(START_SERVER, str(tmp_path), str(port))
    output, _ = server.communicate(timeout=90)
    assert "outcome: None" in output
    for client in clients:
        said, _ = client.communicate(timeout=30)
        assert client.returncode == 0, said
    metrics = (tmp_path / "metrics.jsonl").read_text()
    assert '"partition-id": 0' in metrics and '"partition-id": 1' in metrics
    assert metrics.count('"data": "/it\'s mine"') == 2
