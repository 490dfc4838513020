import os

import ir_measures
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from fedrec.errors import DataError
from fedrec.evaluation.metrics import CUTOFFS, metrics_from_sums, rank_sums
from fedrec.evaluation.rank_file import metrics_from_rank_file, read_rank_file, write_rank_file
from fedrec.evaluation.ranks import rank_in_blocks
from fedrec.evaluation.segments import item_segments, training_counts

COLUMNS = ["user", "split", "protocol", "target", "rank", "candidates", "stage", "segment"]


@pytest.fixture
def ranked(drawn_histories):
    """Validation and test ranks of a scorer that is fairly good, with segments."""
    data = drawn_histories(users=60)
    scores = torch.rand(60, data.num_items + 1, generator=torch.manual_seed(0))
    segments = item_segments(training_counts(data))

    def scorer(users):
        block = scores[torch.from_numpy(users)].clone()
        for row, user in enumerate(users.tolist()):
            block[row, data.history(user)[-2:]] += 0.9 - 0.02 * (user % 20)
        return block

    return [
        rank_in_blocks(scorer, data, None, split, seed=0, segments=segments)
        for split in ("validation", "test")
    ]


def test_what_is_written_is_read_again(tmp_path, ranked):
    path = tmp_path / "new folder" / "ranks.parquet"
    write_rank_file(path, {"backbone": ranked, "routing": ranked[:1]}, metadata={"seed": "3"})
    back = read_rank_file(path)
    assert back.metadata == {"seed": "3"}
    assert [r.split for r in back.stages["backbone"]] == ["validation", "test"]
    assert [r.split for r in back.stages["routing"]] == ["validation"]
    for written, read in zip(ranked, back.stages["backbone"], strict=True):
        assert np.array_equal(read.users, written.users)
        assert np.array_equal(read.target, written.target)
        assert np.array_equal(read.segment, written.segment)
        for protocol in ("full", "sampled100"):
            assert read.rank[protocol].dtype == np.int32
            assert np.array_equal(read.rank[protocol], written.rank[protocol])
            assert np.array_equal(read.candidates[protocol], written.candidates[protocol])


def test_every_number_comes_from_the_file_alone(tmp_path, ranked):
    path = tmp_path / "ranks.parquet"
    write_rank_file(path, {"backbone": ranked}, metadata={})
    again = metrics_from_rank_file(path)["backbone"]
    for ranks in ranked:
        assert again[ranks.split] == metrics_from_sums(rank_sums(ranks), ranks.split)
        assert "tail/ndcg@10" in again[ranks.split]["full"]


def test_an_independent_library_finds_the_same_numbers(tmp_path, ranked):
    path = tmp_path / "ranks.parquet"
    write_rank_file(path, {"backbone": ranked}, metadata={})
    rows = [
        row
        for row in pq.read_table(path).to_pylist()
        if row["split"] == "test" and row["protocol"] == "full"
    ]
    qrels = [ir_measures.Qrel(str(row["user"]), "target", 1) for row in rows]
    run = [
        ir_measures.ScoredDoc(str(row["user"]), name, -float(place))
        for row in rows
        for place in range(1, row["candidates"] + 1)
        for name in ["target" if place == row["rank"] else f"item {place}"]
    ]
    measures = {
        f"{name}@{cutoff}": measure @ cutoff
        for name, measure in (
            ("hr", ir_measures.Success),
            ("ndcg", ir_measures.nDCG),
            ("mrr", ir_measures.RR),
        )
        for cutoff in CUTOFFS
    }
    theirs = ir_measures.calc_aggregate(list(measures.values()), qrels, run)
    ours = metrics_from_rank_file(path)["backbone"]["test"]["full"]
    assert 0 < ours["hr@5"] < ours["hr@20"] < 1
    for name, measure in measures.items():
        assert ours[name] == pytest.approx(theirs[measure], abs=1e-9), name


def test_columns_without_segments_and_an_empty_file(tmp_path, ranked):
    path = tmp_path / "a=b" / "ranks.parquet"
    write_rank_file(path, {}, metadata={})
    assert pq.read_table(path, partitioning=None).column_names == COLUMNS
    assert read_rank_file(path).stages == {}


def test_segments_may_be_unknown(tmp_path, make_histories):
    data = make_histories([[1, 2, 3]], 5)
    ranks = rank_in_blocks(lambda users: torch.zeros(1, 6), data, None, "test", seed=0)
    write_rank_file(tmp_path / "ranks.parquet", {"backbone": [ranks]}, metadata={})
    assert read_rank_file(tmp_path / "ranks.parquet").stages["backbone"][0].segment is None


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, ranked, monkeypatch):
    path = tmp_path / "ranks.parquet"
    write_rank_file(path, {"backbone": ranked}, metadata={})
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_rank_file(path, {"routing": ranked}, metadata={})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["ranks.parquet"]


def test_two_ranks_of_one_split_are_refused(tmp_path, ranked):
    with pytest.raises(DataError, match="'backbone' has several ranks of one split"):
        write_rank_file(tmp_path / "r", {"backbone": [ranked[0], ranked[0]]}, metadata={})


def test_other_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="cannot read ranks from"):
        read_rank_file(tmp_path / "absent.parquet")
    (tmp_path / "text").write_text("user,rank\n")
    with pytest.raises(DataError, match="cannot read ranks from"):
        read_rank_file(tmp_path / "text")
    plain = pq.read_table  # a parquet file without our metadata
    write_rank_file(tmp_path / "ranks", {}, metadata={})
    pq.write_table(plain(tmp_path / "ranks").replace_schema_metadata(None), tmp_path / "foreign")
    with pytest.raises(DataError, match="is no rank file"):
        read_rank_file(tmp_path / "foreign")
