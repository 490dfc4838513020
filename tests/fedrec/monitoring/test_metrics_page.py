"""A page of metrics as Prometheus reads it: a real request, parsed, against numbers by hand."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from fedrec.errors import ConfigError, FedrecError
from fedrec.monitoring.metrics_page import metrics_page, split_address
from fedrec.monitoring.run_state import RunState
from fedrec.processes import this_process
from tests.fedrec.monitoring.conftest import ENDED, ROUNDS, report

Folder = Callable[..., Path]
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
RUNNING = RunState(state="running", stage="alignment", process=this_process()).as_json()


def families(port: int) -> list[Metric]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        return list(text_string_to_metric_families(reply.read().decode()))


def scrape(out: Path) -> Samples:
    with metrics_page(out, "127.0.0.1:0") as port:
        return samples(families(port))


def samples(scraped: list[Metric]) -> Samples:
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in scraped
        for one in family.samples
    }


def of(found: Samples, name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


def test_what_the_run_and_its_newest_round_are(run_folder: Folder) -> None:
    found = scrape(run_folder(ROUNDS, RUNNING))
    assert of(found, "fedrec_run_info", run="out") == 1
    assert of(found, "fedrec_run_state", state="running") == 1
    assert of(found, "fedrec_run_state", state="killed") == 0
    assert of(found, "fedrec_server_app_up") == 1
    assert of(found, "fedrec_stage_info", stage="alignment") == 1
    assert of(found, "fedrec_last_round_timestamp_seconds") == ENDED
    assert of(found, "fedrec_round", stage="backbone") == 4
    assert of(found, "fedrec_round", stage="alignment") == 2
    assert of(found, "fedrec_planned_rounds", stage="alignment") == 9
    assert of(found, "fedrec_remaining_seconds", stage="alignment") == 90
    assert of(found, "fedrec_slowest_node_seconds", stage="alignment") == 650
    assert of(found, "fedrec_training_loss", stage="backbone") == 1.0
    assert of(found, "fedrec_gate", stage="backbone") == 0.125
    assert of(found, "fedrec_transition_gate", stage="backbone") == 0.75
    assert of(found, "fedrec_update_norm", stage="backbone", group="backbone") == 0.25


def test_what_all_rounds_add_up_to(run_folder: Folder) -> None:
    found = scrape(run_folder(ROUNDS, RUNNING))
    backbone = {"stage": "backbone"}
    # rounds of 0.5, 0.5, 4.0 and 0.5 seconds; of alignment 0.5 and 700
    name = "fedrec_round_duration_seconds"
    assert of(found, f"{name}_bucket", le="0.25", **backbone) == 0
    assert of(found, f"{name}_bucket", le="0.5", **backbone) == 3
    assert of(found, f"{name}_bucket", le="2.5", **backbone) == 3
    assert of(found, f"{name}_bucket", le="5.0", **backbone) == 4
    assert of(found, f"{name}_count", **backbone) == 4
    assert of(found, f"{name}_sum", **backbone) == 5.5
    assert of(found, f"{name}_bucket", le="600.0", stage="alignment") == 1
    assert of(found, f"{name}_bucket", le="+Inf", stage="alignment") == 2
    assert of(found, "fedrec_failed_rounds_total", **backbone) == 0
    assert of(found, "fedrec_failed_rounds_total", stage="alignment") == 1
    assert of(found, "fedrec_trained_users_total", **backbone) == 80
    assert of(found, "fedrec_warnings_total", **backbone) == 2


def test_nodes_and_bytes(run_folder: Folder) -> None:
    found = scrape(run_folder(ROUNDS, RUNNING))
    # asked 3 + 6 + 3 + 6, of these one refused and one silent
    for outcome, count in (("fit", 16), ("refused", 1), ("none", 1)):
        assert of(found, "fedrec_replies_total", stage="backbone", outcome=outcome) == count
    for outcome, count in (("fit", 3), ("refused", 3), ("none", 0)):
        assert of(found, "fedrec_replies_total", stage="alignment", outcome=outcome) == count
    bytes_of = {"name": "fedrec_payload_bytes_total", "stage": "backbone"}
    assert of(found, direction="up", **bytes_of) == 400
    assert of(found, direction="down", **bytes_of) == 800
    gate = {"stage": "backbone", "group": "gate", "direction": "down"}
    assert of(found, "fedrec_group_bytes_total", **gate) == 16


def test_validations(run_folder: Folder) -> None:
    found = scrape(run_folder(ROUNDS, RUNNING))
    about = {"stage": "backbone", "protocol": "full", "metric": "ndcg@10"}
    assert of(found, "fedrec_validation", **about) == 0.125
    assert of(found, "fedrec_best_validation", **about) == 0.25
    assert of(found, "fedrec_validation", **{**about, "metric": "users"}) == 38
    assert of(found, "fedrec_best_round", stage="backbone") == 2
    assert not [name for name, labels in found if ("stage", "alignment") in labels
                and "valid" in name]  # fmt: skip


def test_names_follow_the_conventions(run_folder: Folder) -> None:
    """Counters end in _total, units are base units, every metric says what it is."""
    with metrics_page(run_folder(ROUNDS, RUNNING), "127.0.0.1:0") as port:
        scraped = families(port)
    assert len(scraped) == 23
    for family in scraped:
        assert family.name.startswith("fedrec_") and family.documentation.endswith(".")
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter")


def test_a_page_follows_the_file_and_a_cut(run_folder: Folder) -> None:
    out = run_folder(ROUNDS[:2])
    with metrics_page(out, "127.0.0.1:0") as port:
        assert of(samples(families(port)), "fedrec_round", stage="backbone") == 2
        with (out / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(ROUNDS[2]) + "\n" + json.dumps(ROUNDS[3])[:40])
        found = samples(families(port))
        assert of(found, "fedrec_round", stage="backbone") == 3
        assert of(found, "fedrec_trained_users_total", stage="backbone") == 60
        run_folder([ROUNDS[0]])  # resumed from round 1
        found = samples(families(port))
        assert of(found, "fedrec_round", stage="backbone") == 1
        assert of(found, "fedrec_trained_users_total", stage="backbone") == 20


def test_a_run_without_a_round_or_a_folder_has_a_page(tmp_path: Path) -> None:
    found = scrape(tmp_path / "later")
    assert of(found, "fedrec_server_app_up") == 0
    assert of(found, "fedrec_run_state", state="not started") == 1


def test_nobody_answers_after_the_end(run_folder: Folder) -> None:
    with metrics_page(run_folder([]), "127.0.0.1:0") as port:
        pass
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(FedrecError, match=f"--metrics {address}: cannot listen"),
            metrics_page(tmp_path, address),
        ):
            pass


@pytest.mark.parametrize("address", ["9464", "localhost", ":9464", "localhost:x", "a:70000", ""])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="must be HOST:PORT"):
        split_address(address)


def test_an_address_has_a_host_and_a_port() -> None:
    assert split_address("127.0.0.1:9464") == ("127.0.0.1", 9464)
    assert split_address("[::1]:9464") == ("::1", 9464)


def test_a_name_with_quotes_breaks_no_line(run_folder: Folder) -> None:
    found = scrape(run_folder([report('a"b\n\\', 1)], RUNNING))
    assert of(found, "fedrec_round", stage='a"b\n\\') == 1
