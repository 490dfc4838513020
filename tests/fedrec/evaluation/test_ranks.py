import numpy as np
import pytest
import torch

from fedrec.errors import ConfigError, DataError, FedrecError
from fedrec.evaluation.ranks import protocols_of, rank_in_blocks
from fedrec.evaluation.targets import draw_negatives, input_items


def fixed(rows):
    """A scorer that reads user u's scores from row u."""
    table = torch.tensor(rows, dtype=torch.float32)
    return lambda users: table[torch.from_numpy(users)]


def drawn_scores(data, *, levels=None):
    scores = torch.rand(data.num_users, data.num_items + 1, generator=torch.manual_seed(0))
    return scores if levels is None else (scores * levels).floor()


def rank_by_hand(data, scores, user, split, candidates):
    position = {"validation": data.validation_position, "test": data.test_position}[split][user]
    target = data.history(user)[position]
    others = [item for item in candidates if item != target]
    return 1 + sum(scores[user, item] >= scores[user, target] for item in others)


def test_full_rank_by_hand(make_histories):
    data = make_histories([[1, 2, 3, 4]], 6)
    scores = fixed([[9.0, 9.0, 8.0, 0.3, 0.5, 0.4, 0.1]])
    validation = rank_in_blocks(scores, data, None, "validation", ["full"], seed=0)
    test = rank_in_blocks(scores, data, None, "test", ["full"], seed=0)
    assert validation.target.tolist() == [3]
    assert validation.rank["full"].tolist() == [3]  # beaten by 4, the later test item, and 5
    assert validation.candidates["full"].tolist() == [4]  # 3, 4, 5, 6
    assert test.target.tolist() == [4]
    assert test.rank["full"].tolist() == [1]  # 1, 2 and 3 are seen
    assert test.candidates["full"].tolist() == [3]


def test_ties_count_against_the_model(make_histories):
    data = make_histories([[1, 2, 3]], 200)
    equal = fixed(np.zeros((1, 201)))
    ranks = rank_in_blocks(equal, data, None, "test", seed=0)
    assert ranks.rank["full"].tolist() == ranks.candidates["full"].tolist() == [198]
    assert ranks.rank["sampled100"].tolist() == ranks.candidates["sampled100"].tolist() == [101]


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("levels", [None, 5])
@pytest.mark.parametrize("block", [1, 7, 1000])
def test_ranks_equal_the_plain_loop(drawn_histories, split, levels, block):
    data = drawn_histories(users=25)
    scores = drawn_scores(data, levels=levels)
    ranks = rank_in_blocks(fixed(scores.tolist()), data, None, split, seed=5, block=block)
    for row, user in enumerate(ranks.users.tolist()):
        unseen = set(range(1, data.num_items + 1)) - set(input_items(data, split, user).tolist())
        assert ranks.rank["full"][row] == rank_by_hand(data, scores, user, split, unseen)
        assert ranks.candidates["full"][row] == len(unseen)
        drawn = draw_negatives(data, user, seed=5).tolist()
        assert ranks.rank["sampled100"][row] == rank_by_hand(data, scores, user, split, drawn)


def test_order_and_partition_of_users_do_not_matter(drawn_histories):
    data = drawn_histories()
    scorer = fixed(drawn_scores(data).tolist())
    everyone = rank_in_blocks(scorer, data, None, "test", seed=1)
    users = np.random.default_rng(0).permutation(data.num_users)
    parts = [rank_in_blocks(scorer, data, part, "test", seed=1) for part in (users[:9], users[9:])]
    order = np.argsort(np.concatenate([part.users for part in parts]))
    for protocol in ("full", "sampled100"):
        joined = np.concatenate([part.rank[protocol] for part in parts])[order]
        assert np.array_equal(joined, everyone.rank[protocol])


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("block", [1, 3, 1000])
def test_users_are_scored_in_order_of_length_and_answered_in_their_own(
    drawn_histories, split, block
):
    """What scores them pads them to the longest; whose rank it is does not change."""
    data = drawn_histories()
    table, asked = drawn_scores(data), []
    users = np.random.default_rng(3).permutation(data.num_users)
    segments = np.arange(data.num_items + 1).astype(np.int8)

    def scorer(block_users):
        asked.extend(block_users.tolist())
        return table[torch.from_numpy(block_users)]

    ranks = rank_in_blocks(scorer, data, users, split, seed=1, block=block, segments=segments)
    positions = {"validation": data.validation_position, "test": data.test_position}[split]
    with_target = [user for user in users.tolist() if positions[user] >= 0]
    assert ranks.users.tolist() == with_target
    lengths = [int(positions[user]) for user in asked]
    assert lengths == sorted(lengths) and sorted(asked) == sorted(with_target)
    assert asked != with_target
    for row, user in enumerate(with_target):
        alone = rank_in_blocks(fixed(table.tolist()), data, np.array([user]), split, seed=1)
        assert ranks.target[row] == alone.target[0]
        assert ranks.segment[row] == segments[alone.target[0]]
        for protocol in ("full", "sampled100"):
            assert ranks.rank[protocol][row] == alone.rank[protocol][0]
            assert ranks.candidates[protocol][row] == alone.candidates[protocol][0]


def test_a_target_that_was_seen_before_stays_a_candidate(make_histories):
    data = make_histories([[1, 2, 2, 1]], 4)
    ranks = rank_in_blocks(fixed([[0, 0.5, 9, 0.1, 0.9]]), data, None, "test", ["full"], seed=0)
    assert ranks.rank["full"].tolist() == [2]  # 4 beats it; 2 is seen, and counted once
    assert ranks.candidates["full"].tolist() == [3]  # 1, 3, 4


def test_fewer_negatives_than_100_are_counted(make_histories):
    data = make_histories([[1, 2, 3]], 5)
    ranks = rank_in_blocks(fixed([[9, 0, 0, 0.5, 0.6, 0.4]]), data, None, "test", seed=0)
    assert ranks.rank["sampled100"].tolist() == [2]
    assert ranks.candidates["sampled100"].tolist() == [3]


def test_both_protocols_read_one_scoring_of_a_bounded_block(drawn_histories):
    data = drawn_histories()
    scores, asked = drawn_scores(data), []

    def scorer(users):
        asked.append(len(users))
        return scores[torch.from_numpy(users)]

    ranks = rank_in_blocks(scorer, data, None, "test", seed=0, block=16)
    assert max(asked) == 16
    assert sum(asked) == len(ranks.users)


@pytest.mark.parametrize("form", [torch.float64, torch.float16, "transposed"])
def test_any_floating_form_of_scores(drawn_histories, form):
    data = drawn_histories()
    scores = drawn_scores(data, levels=50)
    expected = rank_in_blocks(fixed(scores.tolist()), data, None, "test", seed=0)

    def scorer(users):
        picked = scores[torch.from_numpy(users)]
        return picked.T.contiguous().T if form == "transposed" else picked.to(form)

    ranks = rank_in_blocks(scorer, data, None, "test", seed=0)
    assert np.array_equal(ranks.rank["full"], expected.rank["full"])


def test_nan_is_an_error_that_names_the_user(drawn_histories):
    data = drawn_histories()
    scores = drawn_scores(data)
    users = np.array([30, 20, 10])
    scores[10, 4] = float("nan")
    with pytest.raises(FedrecError, match=r"1 of 300 scores of user 10 \(position 2 among"):
        rank_in_blocks(fixed(scores.tolist()), data, users, "test", seed=0, block=2)


def test_padding_scores_are_ignored_and_infinite_ones_ranked(make_histories):
    data = make_histories([[1, 2, 3]], 5)
    inf = float("inf")
    ranks = rank_in_blocks(
        fixed([[float("nan"), 0, 0, inf, inf, -inf]]), data, None, "test", ["full"], seed=0
    )
    assert ranks.rank["full"].tolist() == [2]


def test_scores_of_the_wrong_shape_are_refused(make_histories):
    data = make_histories([[1, 2, 3]], 5)
    with pytest.raises(DataError, match=r"scores are \(1, 5\), expected \(1, 6\)"):
        rank_in_blocks(fixed(np.zeros((1, 5))), data, None, "test", seed=0)


@pytest.mark.parametrize("wrong", [{"protocols": ["ful"]}, {"protocols": []}, {"block": 0}])
def test_impossible_requests_are_refused(make_histories, wrong):
    data = make_histories([[1, 2, 3]], 5)
    with pytest.raises(ConfigError, match=r"full|block is 0"):
        rank_in_blocks(fixed(np.zeros((1, 6))), data, None, "test", seed=0, **wrong)


def test_segments_follow_the_target(make_histories):
    data = make_histories([[1, 2, 3], [3, 2, 1]], 3)
    segments = np.array([-1, 0, 1, 2], dtype=np.int8)
    scorer = fixed(np.zeros((2, 4)))
    ranks = rank_in_blocks(scorer, data, None, "test", seed=0, segments=segments)
    assert ranks.segment is not None
    assert ranks.segment.tolist() == [2, 0]
    with pytest.raises(DataError, match=r"segments are \(3,\), expected \(4,\)"):
        rank_in_blocks(scorer, data, None, "test", seed=0, segments=segments[1:])


def test_nobody_to_rank_gives_empty_ranks(make_histories):
    data = make_histories([[1, 2]], 5)
    ranks = rank_in_blocks(fixed(np.zeros((1, 6))), data, None, "test", seed=0)
    assert ranks.rank["full"].shape == (0,)


def with_cold(histories, cold: int):
    """The last `cold` items are new, and every last interaction is one of them."""
    histories.cold_items, histories.cold_targets = cold, True
    return histories


def test_cold_ranks_by_hand(make_histories) -> None:
    # 6 trained items and 4 new ones; both users had 7 before the target, the second also 9
    data = with_cold(make_histories([[1, 2, 7, 8], [3, 7, 9, 10]], 10), 4)
    scores = torch.tensor([[0.0, 9, 9, 5, 5, 1, 1, 9, 3, 3, 2], [0, 1, 2, 9, 4, 5, 6, 9, 4, 9, 4]])
    ranks = rank_in_blocks(lambda users: scores[users], data, None, "test", seed=0)
    assert list(ranks.rank) == ["full", "sampled100", "cold"]
    assert ranks.target.tolist() == [8, 10]
    # among 8, 9, 10 with 3, 3, 2; among 8 and 10 with 4 and 4: ties count against us
    assert ranks.rank["cold"].tolist() == [2, 2]
    assert ranks.candidates["cold"].tolist() == [3, 2]
    # before the first are 3, 4 and the tie; before the second 5, 6 and the ties 4 and 8
    assert ranks.rank["full"].tolist() == [4, 5]
    assert ranks.candidates["full"].tolist() == [7, 7]


def test_validation_does_not_know_new_items(make_histories) -> None:
    data = with_cold(make_histories([[1, 2, 3, 8], [4, 5, 6, 9]], 10), 4)
    scores = torch.arange(11.0).expand(2, -1)  # the new ones have the highest scores
    ranks = rank_in_blocks(lambda users: scores[users], data, None, "validation", seed=0)
    assert list(ranks.rank) == ["full", "sampled100"]
    assert ranks.target.tolist() == [3, 6]
    assert ranks.rank["full"].tolist() == [4, 1]  # among 3 to 6, and among 1, 2, 3, 6
    assert ranks.candidates["full"].tolist() == [4, 4]
    assert ranks.candidates["sampled100"].tolist() == [4, 4]  # 4, 5, 6 and the target; 1, 2, 3


def test_cold_is_asked_for_where_there_are_new_targets_alone(make_histories) -> None:
    data = make_histories([[1, 2, 3]], 5)
    for split, cold in (("validation", True), ("test", False)):
        data.cold_targets = cold
        assert protocols_of(data, split) == ("full", "sampled100")
        with pytest.raises(ConfigError, match=r"\['cold'\]; allowed: full, sampled100$"):
            rank_in_blocks(lambda users: torch.zeros(1, 6), data, None, split, ["cold"], seed=0)


def test_an_item_that_is_masked_is_last(make_histories) -> None:
    data = with_cold(make_histories([[1, 2, 7]], 8), 2)
    scores = torch.tensor([[0.0, 1, 1, 1, 1, 1, 1, -torch.inf, -torch.inf]])
    ranks = rank_in_blocks(lambda users: scores, data, None, "test", seed=0)
    assert (ranks.rank["full"].item(), ranks.candidates["full"].item()) == (6, 6)
    assert (ranks.rank["cold"].item(), ranks.candidates["cold"].item()) == (2, 2)
