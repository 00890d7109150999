"""Which points nothing beats."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leti_opt.search import pareto_indices

POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=25)


def dominates(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    nowhere_worse = all(a <= b for a, b in zip(first, second, strict=True))
    return nowhere_worse and first != second


@given(POINTS)
def test_the_front_is_what_a_plain_search_finds(points: list[tuple[int, int]]) -> None:
    expected = {point for point in points if not any(dominates(other, point) for other in points)}
    found = [points[index] for index in pareto_indices(points)]
    assert set(found) == expected
    assert len(found) == len(expected), "equal points are kept once"
    assert found == sorted(found, key=lambda point: point[::-1])
