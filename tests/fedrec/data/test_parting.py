"""A prepared folder cut into one a node: nobody in two, nobody lost, everything else the same."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.data import PreparedData
from fedrec.data.cold_folder import prepare_cold
from fedrec.data.folder import INTERACTIONS, MANIFEST, read_column, read_manifest
from fedrec.data.parting import partition_folder
from fedrec.data.sealed import write_sealed
from fedrec.errors import DataError


def open_parts(out: Path) -> list[PreparedData]:
    count = len(json.loads((out / "partition.json").read_text())["nodes"])
    return [PreparedData.load(out / f"node-{i + 1}", verify=True) for i in range(count)]


def triples(data: PreparedData) -> list[tuple[str, int, int]]:
    """(publisher's user, item, time) of every interaction."""
    keys, users = data.user_keys(), np.repeat(np.arange(data.num_users), np.diff(data.offsets))
    pairs = zip(users.tolist(), data.items.tolist(), data.timestamps.tolist(), strict=True)
    return [(keys[user], item, time) for user, item, time in pairs]


def check_partition(whole: PreparedData, parts: list[PreparedData]) -> None:
    users = [key for part in parts for key in part.user_keys()]
    assert len(set(users)) == len(users) == whole.num_users
    assert set(users) == set(whole.user_keys())
    found = [triple for part in parts for triple in triples(part)]
    assert len(set(found)) == len(found)
    assert sorted(found) == sorted(triples(whole))


@settings(max_examples=3)
@given(nodes=st.integers(1, 6))
def test_no_user_and_no_interaction_is_in_two_or_lost(toy_data, nodes) -> None:
    with TemporaryDirectory() as folder:
        partition_folder(toy_data.path, Path(folder) / "out", nodes=nodes)
        parts = open_parts(Path(folder) / "out")
        check_partition(toy_data, parts)
        assert [key for part in parts for key in part.user_keys()] == toy_data.user_keys()


@settings(max_examples=3)
@given(shops=st.lists(st.sampled_from("abcd"), min_size=130, max_size=130))
def test_nor_where_a_column_deals(toy_data, shops) -> None:
    with TemporaryDirectory() as folder:
        rows = [f"{key},{shop}" for key, shop in zip(toy_data.user_keys(), shops, strict=True)]
        path = Path(folder) / "users.csv"
        path.write_text("\n".join(["user,shop", *rows]) + "\n")
        out = Path(folder) / "out"
        written = partition_folder(toy_data.path, out, by="shop", users=path)
        assert [node["value"] for node in written] == sorted(set(shops))
        check_partition(toy_data, open_parts(out))


def test_a_user_is_the_same_in_a_part(toy_data, tmp_path) -> None:
    partition_folder(toy_data.path, tmp_path / "out", nodes=3)
    for part in open_parts(tmp_path / "out"):
        assert part.part is not None and part.part.whole_users == toy_data.num_users
        for user, number in enumerate(part.part.numbers.tolist()):
            assert part.history(user).tolist() == toy_data.history(number).tolist()
            for name in ("train_end", "validation_position", "test_position"):
                assert getattr(part, name)[user] == getattr(toy_data, name)[number]
        rows = read_column(part.path / INTERACTIONS, "user").to_numpy()
        assert rows.tolist() == np.repeat(range(part.num_users), np.diff(part.offsets)).tolist()


def test_items_and_features_are_the_same_bytes(toy_data, tmp_path) -> None:
    partition_folder(toy_data.path, tmp_path / "out", nodes=2)
    names = ["items.parquet", *(n for n in toy_data.manifest["files"] if "features/" in n)]
    assert len(names) == 7  # three modalities of two files
    for folder in ("node-1", "node-2", "server"):
        for name in names:
            copied = tmp_path / "out" / folder / name
            assert copied.read_bytes() == (toy_data.path / name).read_bytes()
        part = PreparedData.load(tmp_path / "out" / folder)
        assert part.catalogue_fingerprint == toy_data.catalogue_fingerprint


def test_the_servers_folder_has_nobody(toy_data, tmp_path) -> None:
    partition_folder(toy_data.path, tmp_path / "out", nodes=2)
    server = PreparedData.load(tmp_path / "out" / "server", verify=True)
    assert (server.num_users, len(server.items), server.num_items) == (0, 0, 40)
    assert server.user_keys() == [] and server.part is not None and server.part.index == -1
    texts = [path.read_bytes() for path in server.path.rglob("*") if path.is_file()]
    assert not any(b"u001" in text for text in texts)


def test_a_part_says_nothing_of_other_users(toy_data, tmp_path) -> None:
    source = copytree(toy_data.path, tmp_path / "source")
    write_sealed(source / MANIFEST, {**read_manifest(source), "notes": ["u107 is reordered"]})
    partition_folder(source, tmp_path / "out", nodes=5)
    for name in ("manifest.json", "split.json"):
        assert "u107" not in (tmp_path / "out/node-1" / name).read_text()
    assert json.loads((tmp_path / "out/node-1/split.json").read_text())["users"] < 60
    others = set(toy_data.user_keys()[60:])
    assert not others & set(pq.read_table(tmp_path / "out/node-1/users.parquet")["key"].to_pylist())


def test_cold_items_stay_cold(toy_data, tmp_path) -> None:
    prepare_cold(toy_data.path, tmp_path / "cold", share=0.2, seed=4)
    cold = PreparedData.load(tmp_path / "cold")
    partition_folder(cold.path, tmp_path / "out", nodes=3)
    parts = open_parts(tmp_path / "out")
    check_partition(cold, parts)
    assert all(part.cold_targets and part.warm_items == 32 for part in parts)
    assert {part.new_items_fingerprint for part in parts} == {cold.new_items_fingerprint}


def test_others_may_not_enter(toy_data, tmp_path) -> None:
    partition_folder(toy_data.path, tmp_path / "out", nodes=2)
    for folder in ("", "node-1", "node-2", "server"):
        assert stat.S_IMODE((tmp_path / "out" / folder).stat().st_mode) == 0o700


def test_nothing_is_replaced_but_a_partition_by_force(toy_data, tmp_path) -> None:
    out = tmp_path / "out"
    (out / "mine").mkdir(parents=True)
    for force in (False, True):
        with pytest.raises(DataError, match="not a partition"):
            partition_folder(toy_data.path, out, nodes=2, force=force)
    (out / "mine").rmdir()
    partition_folder(toy_data.path, out, nodes=3)
    with pytest.raises(DataError, match="--force"):
        partition_folder(toy_data.path, out, nodes=2)
    partition_folder(toy_data.path, out, nodes=2, force=True)
    assert sorted(p.name for p in out.iterdir()) == ["node-1", "node-2", "partition.json", "server"]


@pytest.mark.parametrize("place", ["", "inside", ".."])
def test_source_and_out_do_not_lie_in_each_other(toy_data, place) -> None:
    with pytest.raises(DataError, match="lie in each other"):
        partition_folder(toy_data.path, toy_data.path / place, nodes=2, force=True)


def test_a_failure_leaves_nothing(toy_data, tmp_path, monkeypatch) -> None:
    def fail(*arguments) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fedrec.data.parting.write_histories", fail)
    with pytest.raises(OSError, match="No space"):
        partition_folder(toy_data.path, tmp_path / "out", nodes=2)
    assert list(tmp_path.iterdir()) == []


def test_a_part_is_not_cut_again(toy_data, tmp_path) -> None:
    partition_folder(toy_data.path, tmp_path / "out", nodes=2)
    with pytest.raises(DataError, match="part 1 of 2 already"):
        partition_folder(tmp_path / "out/node-2", tmp_path / "again", nodes=2)


def test_what_is_missing_is_asked_for(toy_data, tmp_path) -> None:
    with pytest.raises(DataError, match="how many nodes"):
        partition_folder(toy_data.path, tmp_path / "out")
    with pytest.raises(DataError, match="--by COLUMN"):
        partition_folder(toy_data.path, tmp_path / "out", nodes=2, users=tmp_path / "users.csv")
