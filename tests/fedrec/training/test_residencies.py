"""What is remembered of users' memories, and that it does not grow."""

from __future__ import annotations

import numpy as np

from fedrec.training.residencies import Residencies


def test_the_users_asked_for_last_are_kept() -> None:
    computed: list[int] = []
    residencies = Residencies(kept=10)

    def ask(user: int, length: int = 4) -> list[int]:
        def compute() -> np.ndarray:
            computed.append(user)
            return np.full(length, user)

        return residencies.of(user, length, compute).tolist()

    assert [ask(1), ask(2), ask(1)] == [[1] * 4, [2] * 4, [1] * 4]
    assert computed == [1, 2]
    ask(3)  # 12 interactions: user 2 was asked for the longest ago
    ask(1)
    assert computed == [1, 2, 3]
    ask(2)
    assert computed == [1, 2, 3, 2]


def test_another_length_is_another_question() -> None:
    residencies = Residencies()
    assert residencies.of(1, 2, lambda: np.zeros(2)).tolist() == [0, 0]
    assert residencies.of(1, 3, lambda: np.ones(3)).tolist() == [1, 1, 1]


def test_a_history_longer_than_all_that_is_kept_is_kept_alone() -> None:
    residencies = Residencies(kept=3)
    residencies.of(1, 2, lambda: np.zeros(2))
    residencies.of(2, 9, lambda: np.zeros(9))
    assert residencies.of(2, 9, lambda: np.ones(9)).tolist() == [0] * 9
    assert residencies.of(1, 2, lambda: np.ones(2)).tolist() == [1, 1]
