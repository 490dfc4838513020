"""The tables of a study, and its runs in processes of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import accuracy
from fedrec.errors import ConfigError
from study import RANKS, Task
from tests.benchmarks.conftest import task

NAMES = "random popularity item_knn pfedrec centralised fedavg backbone alignment routing".split()


def test_the_tables_have_every_model_every_pair_and_the_price(
    finished_study: Path, shop: Path
) -> None:
    models = accuracy.load(finished_study, shop.name)
    assert [model.name for model in models] == NAMES
    text = accuracy.report(models)
    seeds = {line.split(" | ")[0][2:]: line.split(" | ")[-1][:-2] for line in text.splitlines()
             if line.startswith("| ") and "p " not in line}  # fmt: skip
    assert {name: seeds[name] for name in NAMES} == {
        name: "2" if name in ("random", "centralised") else "1" for name in NAMES
    }
    pairs = len(NAMES) - 1 + 3  # neighbours, backbone over one other and routing over two
    assert text.count(", p ") == 5 * pairs
    assert text.count("backbone / centralised, full NDCG@10") == 3


def test_the_summary_holds_what_the_tables_show(finished_study: Path, shop: Path) -> None:
    models = accuracy.load(finished_study, shop.name)
    found = accuracy.summary(models)
    assert found["seeds"]["random"] == [0, 1]
    assert len(found["means"]["random"]["test"]["full/hr@10"]) == 2
    assert set(found["backbone / centralised"]) == {"validation", "test", "pooled"}


def test_a_study_in_which_nothing_has_finished_says_so(tmp_path: Path) -> None:
    assert accuracy.report(accuracy.load(tmp_path, "nothing")) == "no run has finished"


def test_data_are_named_by_path_or_in_data(shop: Path) -> None:
    assert accuracy.prepared(str(shop)) == shop
    with pytest.raises(accuracy.ArgumentTypeError, match="no prepared folder nowhere"):
        accuracy.prepared("nowhere")


def test_a_finished_run_is_skipped_and_a_foreign_one_stops_all(
    finished_study: Path, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accuracy, "start", lambda one: pytest.fail(f"{one} was started"))
    one = task(shop, finished_study, "random")
    assert accuracy.perform_all([one], workers=2) == []
    with pytest.raises(ConfigError, match="with other quick"):
        accuracy.perform_all([replace(one, quick=True)], workers=2)


@pytest.mark.slow
def test_runs_have_processes_of_their_own_and_a_failure_stops_no_other(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [task(shop, tmp_path, name) for name in ("random", "popularity")]
    bad = Task(data=shop, system="centralised", seed=0, folder=tmp_path / "bad", settings=("a=1",))
    assert accuracy.perform_all([bad, *good], workers=2) == [bad]
    assert all((one.folder / RANKS).exists() for one in good)
    assert "unknown key 'a'" in (tmp_path / "bad" / "output.txt").read_text()
    printed = capsys.readouterr().out
    assert "3 runs, 0 of them finished before" in printed
    assert f"{shop.name} centralised seed 0: failed" in printed
