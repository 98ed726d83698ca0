"""pass@k: exact where it can be counted out, and blind to what the machine did."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.evals.grading.score import pass_at_k, score
from runner.evals.samples.records import OutcomeName


@given(st.integers(1, 9), st.data())
def test_the_estimate_is_the_share_of_draws_that_hold_a_pass(n: int, data: st.DataObject) -> None:
    c = data.draw(st.integers(0, n))
    k = data.draw(st.integers(1, n))
    draws = list(combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 0)])
def test_an_impossible_count_has_no_estimate(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="no estimate"):
        pass_at_k(n, c, k)


def test_infrastructure_is_in_no_figure_but_its_own_count() -> None:
    verdicts: list[tuple[str, OutcomeName]] = [
        ("a", "passed"),
        ("a", "failed"),
        ("a", "infrastructure"),
        ("b", "timed_out"),
        ("b", "passed"),
    ]
    found = score(verdicts, (1, 2, 3), tasks=5)
    assert found.pass_at == {1: 0.5, 2: 1.0}
    assert found.excluded == 1
    assert found.outcomes == {"passed": 2, "failed": 1, "infrastructure": 1, "timed_out": 1}
    assert (found.tasks, found.samples, found.tasks_without_samples) == (2, 5, 3)


def test_a_task_whose_samples_all_stayed_infrastructure_withholds_the_score() -> None:
    assert score([("a", "passed"), ("b", "infrastructure")], (1,)).pass_at == {}


def test_nothing_scores_nothing() -> None:
    assert score([], (1, 10)).pass_at == {}
