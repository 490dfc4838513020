"""A real SuperLink with two real clients on loopback, running a server app of this test's.

The app that the server sends has a client app in it, too: nodes run what is installed on them.
"""

import json
import os
import shutil
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
clientapp = "client.app:app"
[tool.flwr.app.config]
run.out = '{out}'
run.data = 'of no client'
"""
SERVER = """
import json
import time
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()

@app.main()
def main(grid, context):
    while len(nodes := list(grid.get_node_ids())) < 2:
        time.sleep(0.2)
    empty = RecordDict({"config": ConfigRecord()})
    messages = [Message(empty, dst_node_id=node, message_type="query") for node in nodes]
    answers = [dict(reply.content["config"]) for reply in grid.send_and_receive(messages)]
    with open(context.run_config["run.out"] + "/metrics.jsonl", "a") as file:
        file.write(json.dumps({"stage": "x", "round": 1, "rounds": 1, "answers": answers}) + "\\n")
"""
HOSTILE = """
from pathlib import Path
Path("{mark}").touch()
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

launch.GONE_S = 2.0
server, data, part = sys.argv[1:]
launch.run_client(launch.Client(data=Path(data), server=server, partition=part))
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
def test_server_and_clients_run_an_app_and_end(tmp_path: Path, shop: Path) -> None:
    app, mine = tmp_path / "app", tmp_path / "it's mine"
    (app / "client").mkdir(parents=True)
    (app / "pyproject.toml").write_text(PROJECT.format(out=tmp_path))
    (app / "stub_server.py").write_text(SERVER)
    (app / "client" / "__init__.py").touch()
    (app / "client" / "app.py").write_text(HOSTILE.format(mark=tmp_path / "sent code has run"))
    shutil.copytree(shop, mine)
    port = free_port()
    clients = [
        start(START_CLIENT, f"127.0.0.1:{port}", str(mine), f"{index}/2") for index in range(2)
    ]
    server = start(START_SERVER, str(tmp_path), str(port))
    output, _ = server.communicate(timeout=90)
    assert "outcome: None" in output
    for client in clients:
        said, _ = client.communicate(timeout=30)
        assert client.returncode == 0, said
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    answers = json.loads(line)["answers"]
    assert sorted(answer["partition"] for answer in answers) == [0, 1]
    assert sum(answer["trainable"] for answer in answers) == 13
    assert not (tmp_path / "sent code has run").exists()
