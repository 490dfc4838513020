"""The metrics of a run as Prometheus knows them; docs/observability.md explains each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from fedrec.monitoring.run_state import STATES, RunState
from fedrec.monitoring.totals import BUCKETS_S, StageTotals
from fedrec.report.round_line import metric

Value = float | None
Stages = dict[str, StageTotals]


def run_families(out: Path, state: RunState, stages: Stages) -> Iterator[Metric]:
    """Every metric of the run in folder `out`."""
    yield from _about_the_run(out, state, stages)
    yield from _of_the_newest_round(stages)
    yield from _of_all_rounds(stages)
    yield from _of_nodes_and_bytes(stages)
    yield from _of_validations(stages)


def _about_the_run(out: Path, state: RunState, stages: Stages) -> Iterator[Metric]:
    yield _gauge("run_info", "The run's folder.", ["run"], [([out.name], 1)])
    yield _gauge(
        "run_state",
        "1 for the state that the run is in, 0 for the others.",
        ["state"],
        [([name], float(name == state.state)) for name in STATES],
    )
    up = float(state.state == "running")
    yield _gauge("server_app_up", "Whether the server app lives and is at work.", [], [([], up)])
    stage = state.stage or next(reversed(stages), None)
    named = [([stage], 1.0)] if stage else []
    yield _gauge("stage_info", "The stage that runs, or ran last.", ["stage"], named)
    times = [one.newest["ended_at"] for one in stages.values() if "ended_at" in one.newest]
    yield _gauge(
        "last_round_timestamp_seconds",
        "When the newest round ended, in seconds since 1970.",
        [],
        [([], max(times, default=None))],
    )


def _of_the_newest_round(stages: Stages) -> Iterator[Metric]:
    for name, key, text in (
        ("round", "round", "Number of the newest round."),
        ("planned_rounds", "rounds", "Rounds that the stage has at most."),
        ("remaining_seconds", "remaining_s", "Expected time to the end of the stage."),
        ("slowest_node_seconds", "slowest_node_s", "The longest that a node trained."),
        ("training_loss", "loss", "Mean loss of the newest round."),
        ("gate", "gate", "Share of the experts in the score."),
        ("transition_gate", "transition_gate", "Share of the transitions in the score."),
    ):
        values = [([stage], one.newest.get(key)) for stage, one in stages.items()]
        yield _gauge(name, text, ["stage"], values)
    yield _gauge(
        "update_norm",
        "Norm of the mean update of the newest round, by group of parameters.",
        ["stage", "group"],
        [
            ([stage, group], norm)
            for stage, one in stages.items()
            for group, norm in one.newest.get("update_norms", {}).items()
        ],
    )


def _of_all_rounds(stages: Stages) -> Iterator[Metric]:
    times = HistogramMetricFamily(
        "fedrec_round_duration_seconds", "How long rounds took.", labels=["stage"]
    )
    for stage, one in stages.items():
        times.add_metric([stage], buckets=list(_cumulative(one.in_bucket)), sum_value=one.seconds)
    yield times
    for name, key, text in (
        ("failed_rounds", "failed", "Rounds that changed nothing: too few fit updates."),
        ("trained_users", "users", "Users trained, once for every round."),
        ("warnings", "warnings", "Warnings of the server app about its rounds."),
    ):
        values = [([stage], float(getattr(one, key))) for stage, one in stages.items()]
        yield _counter(name, text, ["stage"], values)


def _cumulative(counts: Iterable[int]) -> Iterator[tuple[str, float]]:
    total = 0
    for bound, count in zip(BUCKETS_S, counts, strict=True):
        total += count
        yield ("+Inf" if bound == float("inf") else str(bound)), total


def _of_nodes_and_bytes(stages: Stages) -> Iterator[Metric]:
    yield _counter(
        "replies",
        "Questions to nodes by what came of them: fit, refused, or none in time.",
        ["stage", "outcome"],
        [
            ([stage, outcome], count)
            for stage, one in stages.items()
            for outcome, count in (
                ("fit", one.fit),
                ("refused", one.refused),
                ("none", one.unanswered),
            )
        ],
    )
    yield _counter(
        "payload_bytes",
        "Bytes of all records, up (to the server) and down (to the nodes).",
        ["stage", "direction"],
        [
            ([stage, direction], count)
            for stage, one in stages.items()
            for direction, count in (("up", one.bytes_up), ("down", one.bytes_down))
        ],
    )
    yield _counter(
        "group_bytes",
        "Bytes of arrays, by group of parameters, up and down.",
        ["stage", "group", "direction"],
        [
            ([stage, group, direction], count)
            for stage, one in stages.items()
            for direction, counts in (("up", one.group_bytes_up), ("down", one.group_bytes_down))
            for group, count in counts.items()
        ],
    )


def _of_validations(stages: Stages) -> Iterator[Metric]:
    for name, text, which in (
        ("validation", "The newest validation's means over users.", "validated"),
        ("best_validation", "The highest of the stage so far.", "best"),
    ):
        yield _gauge(
            name,
            text,
            ["stage", "protocol", "metric"],
            [
                ([stage, protocol, key], metric(record["validation"], f"{protocol}/{key}"))
                for stage, one in stages.items()
                if (record := getattr(one, which)) is not None
                for protocol, values in record["validation"].items()
                for key in values
            ],
        )
    yield _gauge(
        "best_round",
        "Number of the round with the highest validation so far.",
        ["stage"],
        [([stage], one.best["round"]) for stage, one in stages.items() if one.best is not None],
    )


def _gauge(
    name: str, text: str, labels: list[str], values: Iterable[tuple[list[str], Value]]
) -> Metric:
    family = GaugeMetricFamily(f"fedrec_{name}", text, labels=labels)
    for named, value in values:
        if value is not None:
            family.add_metric(named, value)
    return family


def _counter(
    name: str, text: str, labels: list[str], values: Iterable[tuple[list[str], float]]
) -> Metric:
    family = CounterMetricFamily(f"fedrec_{name}", text, labels=labels)
    for named, value in values:
        family.add_metric(named, value)
    return family
