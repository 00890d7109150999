"""Two columns of latencies compared: ratio with its interval, ranks, movements, and the sentence that sums it up."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt.errors import InvalidInputError
from leti_opt.report.comparison import Comparison, LatencyColumn, compare, median_interval
from leti_opt.store import CellAlias

LATENCIES = st.lists(st.floats(0.01, 1000), min_size=3, max_size=31)


def column(
    latencies: list[float] | dict[str, float], name: str = "A", origin: str = "measured", error: float | None = None
) -> LatencyColumn:
    """A side; with ``error`` every figure has an interval of so much of itself."""
    figures = latencies if isinstance(latencies, dict) else {f"net-{n}": ms for n, ms in enumerate(latencies)}
    errors = {} if error is None else {key: error * ms for key, ms in figures.items()}
    return LatencyColumn(name, origin, figures, errors, {key: f"label {key}" for key in figures})


def lengths(count: int = 20) -> list[float]:
    return [1.0 * 1.1**place for place in range(count)]


def scaled(by: float, count: int = 20, **settings: object) -> Comparison:
    return compare(column(lengths(count)), column([by * ms for ms in lengths(count)], "B", **settings))  # type: ignore[arg-type]


# -- ratio and its interval -------------------------------------------------------------------------------------


def test_a_constant_factor_is_found_and_taken_out() -> None:
    found = scaled(1.3)
    assert (found.ratio, found.ratio_low, found.ratio_high) == pytest.approx((1.3, 1.3, 1.3))
    assert (found.spearman, found.kendall) == (pytest.approx(1), pytest.approx(1))
    assert found.within == {0.02: 0, 0.05: 0, 0.10: 0}
    assert found.within_scaled == {0.02: 1, 0.05: 1, 0.10: 1}
    assert (found.networks, found.only_in_first, found.only_in_second, found.moved) == (20, 0, 0, ())


def test_the_ratio_is_the_median_over_networks_and_not_of_sums() -> None:
    found = compare(column([1, 2, 3, 4, 1000]), column([1.1, 2.2, 3.3, 4.4, 5000]))
    assert found.ratio == pytest.approx(1.1)


def test_shares_are_counted_as_they_are() -> None:
    found = compare(column([1.0] * 10), column([1.0] * 4 + [1.02, 0.98, 1.04, 0.93, 1.5, 0.5]))
    assert found.within == {0.02: 0.6, 0.05: 0.7, 0.10: 0.8}


def resampled_interval(values: np.ndarray, seed: int) -> tuple[float, float]:
    """The slow and obvious bootstrap."""
    random = np.random.default_rng(seed)
    medians = [np.median(random.choice(values, values.size)) for _ in range(4000)]
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(high)


@pytest.mark.parametrize("count", [3, 4, 15, 40, 101])
def test_the_interval_is_that_of_resampling_one_by_one(count: int) -> None:
    values = np.arange(count, dtype=np.float64)
    fast = np.mean([median_interval(values, np.random.default_rng(seed)) for seed in range(8)], axis=0)
    slow = np.mean([resampled_interval(values, seed) for seed in range(3)], axis=0)
    assert fast == pytest.approx(slow, abs=1e-9 if count < 5 else max(1, 0.02 * count))


@pytest.mark.parametrize("count", [20, 21])
def test_intervals_hold_the_true_median_about_as_often_as_they_promise(count: int) -> None:
    random = np.random.default_rng(1)
    bounds = [median_interval(np.exp(random.normal(0, 0.1, count)), random) for _ in range(400)]
    held = np.mean([low <= 1 <= high for low, high in bounds])
    assert 0.91 <= held <= 0.99


def test_the_interval_of_many_networks_is_narrow_and_quick_to_have() -> None:
    random = np.random.default_rng(1)
    low, high = median_interval(random.normal(1.1, 0.05, 400_000), random)
    assert 1.099 < low < 1.1 < high < 1.101


def test_a_seed_decides_the_interval() -> None:
    sides = column(lengths(30)), column((np.array(lengths(30)) * np.linspace(0.9, 1.4, 30)).tolist())
    assert compare(*sides, seed=1) == compare(*sides, seed=1)
    assert compare(*sides, seed=1).ratio_low != compare(*sides, seed=2).ratio_low


# -- properties --------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(first=LATENCIES, factors=st.lists(st.floats(0.2, 5), min_size=31, max_size=31), order=st.randoms())
def test_the_order_of_networks_plays_no_part(first: list[float], factors: list[float], order: object) -> None:
    second = [ms * factor for ms, factor in zip(first, factors, strict=False)]
    keys = [f"net-{place}" for place in range(len(first))]
    order.shuffle(keys)  # type: ignore[attr-defined]
    plain = compare(column(first), column(second))
    shuffled = compare(column({key: column(first).latency_ms[key] for key in keys}), column(second))
    assert shuffled.moved == plain.moved
    for name in ("ratio", "ratio_low", "ratio_high", "spearman", "kendall"):
        assert getattr(shuffled, name) == pytest.approx(getattr(plain, name), nan_ok=True)
    assert sorted(shuffled.rows, key=str) == sorted(plain.rows, key=str)


@settings(max_examples=60, deadline=None)
@given(first=LATENCIES, factors=st.lists(st.floats(0.2, 5), min_size=31, max_size=31))
def test_both_directions_say_the_same(first: list[float], factors: list[float]) -> None:
    first = first if len(first) % 2 else first[:-1] if len(first) > 3 else first
    second = [ms * factor for ms, factor in zip(first, factors, strict=False)]
    there, back = compare(column(first), column(second)), compare(column(second), column(first))
    if len(first) % 2:
        assert there.ratio * back.ratio == pytest.approx(1)
    assert there.spearman == pytest.approx(back.spearman)
    assert there.ratio_low <= there.ratio <= there.ratio_high
    assert {move.key for move in there.moved} == {move.key for move in back.moved}
    assert all(0 <= share <= 1 for share in there.within.values())
    assert list(there.within.values()) == sorted(there.within.values())
    assert there.verdict()


@settings(max_examples=40, deadline=None)
@given(first=LATENCIES)
def test_a_column_agrees_with_itself(first: list[float]) -> None:
    found = compare(column(first), column(first))
    assert (found.ratio, found.ratio_low, found.ratio_high, found.moved) == (1, 1, 1, ())
    assert found.agrees is (True if len(first) >= 10 and len(set(first)) > 1 else None)


# -- ranks -------------------------------------------------------------------------------------------------------


def test_networks_that_moved_most_come_first_and_say_whether_their_intervals_overlap() -> None:
    first = lengths(12)
    second = [2 * ms for ms in first]
    second[2], second[9] = 2 * first[10] * 1.01, 2 * first[8] * 0.99
    found = compare(column(first, error=0.01), column(second, error=0.01))
    assert found.moved[0].key == "net-2"
    assert (found.moved[0].label, found.moved[0].first_rank, found.moved[0].second_rank) == ("label net-2", 3, 11)
    assert (found.moved[0].first_ms, found.moved[0].second_ms) == (first[2], second[2])
    assert found.moved[0].intervals_overlap is False
    bystanders = {move.key: move.intervals_overlap for move in found.moved[2:]}
    assert bystanders
    assert set(bystanders.values()) == {True}, "they only made room"


def test_a_real_movement_comes_before_a_larger_one_within_the_intervals() -> None:
    first = {f"net-{place}": 1 + place / 100 for place in range(10)} | {"p": 5.0, "q": 5.5}
    second = {**first, "net-0": 1.1, "p": 5.6}
    errors = {**dict.fromkeys(first, 0.3), "p": 0.001, "q": 0.001}
    sides = (LatencyColumn("A", "measured", first, errors, {}), LatencyColumn("B", "measured", second, errors, {}))
    moved = compare(*sides).moved
    assert (moved[0].key, moved[0].intervals_overlap) == ("p", False)
    within = next(move for move in moved if move.key == "net-0")
    assert within.intervals_overlap is True
    assert abs(within.second_rank - within.first_rank) > 1


def test_without_intervals_nothing_is_said_of_them() -> None:
    first = column(lengths(12), error=0.01)
    second = column({**first.latency_ms, "net-3": 9.0})
    assert [move.intervals_overlap for move in compare(first, second).moved[:1]] == [None]
    assert [row.second_error_ms for row in compare(first, second).rows] == [None] * 12


def test_equal_latencies_share_their_rank() -> None:
    found = compare(column([1, 1, 2, 3]), column([1, 1, 2, 3]))
    assert [row.first_rank for row in found.rows] == [1.5, 1.5, 3, 4]
    assert found.moved == ()


@pytest.mark.parametrize(("first", "second"), [([2.0] * 12, lengths(12)), (lengths(12), [2.0] * 12), ([1.0] * 12,) * 2])
def test_the_ranks_of_equal_figures_are_undefined(first: list[float], second: list[float]) -> None:
    found = compare(column(first), column(second, "B"))
    assert (found.spearman, found.kendall, found.agrees) == (None, None, None)
    assert "cannot be told: all figures of a side are equal" in found.verdict()


def test_figures_that_are_no_positive_numbers_are_left_out_and_counted() -> None:
    first = column([math.nan, math.inf, 0.0, -1.0, *lengths(10)])
    found = compare(first, column([1.0] * 4 + lengths(10), "B"))
    assert (found.networks, found.only_in_first, found.only_in_second) == (10, 0, 4)
    assert found.notes == ("A: 4 figures that are no positive finite numbers are left out",)


# -- which networks are shared -----------------------------------------------------------------------------------


def cells(keys: list[str], network: str = "net", renderer: str = "writer 1") -> dict[str, CellAlias]:
    return {key: CellAlias(f"hash {place}", network, renderer, f"cell {place}") for place, key in enumerate(keys)}


def with_cells(name: str, start: int = 0, **settings: str) -> LatencyColumn:
    plain = column({f"{name}-{place}": ms for place, ms in enumerate(lengths(12))}, name, error=0.01)
    keys = [*(f"unused-{place}" for place in range(start)), *plain.latency_ms]
    known = {key: cell for key, cell in cells(keys, **settings).items() if key in plain.latency_ms}
    return replace(plain, cells=known)


def test_sides_without_a_common_key_are_matched_by_cell_and_network() -> None:
    found = compare(with_cells("A"), with_cells("B", renderer="writer 2"))
    assert (found.networks, found.ratio, found.matched_by) == (12, 1, "cell and network")
    assert found.rows[0].first_error_ms == pytest.approx(0.01)
    assert found.rows[0].label == "label A-0"
    assert any("matched by cell and network" in note for note in found.notes)


def test_common_keys_count_before_cells() -> None:
    first, second = with_cells("A"), with_cells("B")
    both = dict.fromkeys(("x", "y", "z"), 1.0)
    found = compare(
        replace(first, latency_ms={**first.latency_ms, **both}),
        replace(second, latency_ms={**second.latency_ms, **both}),
    )
    assert (found.networks, found.matched_by, found.only_in_first) == (3, "model_key", 12)


def test_of_two_models_of_one_cell_the_later_counts_with_its_own_interval() -> None:
    first = with_cells("A")
    newer = replace(
        first,
        latency_ms={**first.latency_ms, "again": 7.0},
        cells={**first.cells, "again": replace(first.cells["A-0"], renderer="writer 3")},
    )
    found = compare(newer, with_cells("B"))
    row = next(row for row in found.rows if row.key.startswith("cell 0"))
    assert (row.first_ms, row.first_error_ms, found.networks) == (7.0, None, 12)


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (
            with_cells("A"),
            with_cells("B", network="other"),
            "12 cells in common, laid out by different network configs",
        ),
        (with_cells("A"), with_cells("B", start=12), "their cells are different ones"),
        (column([1, 2, 3]), column({"x": 1.0, "y": 2.0, "z": 3.0}, "B"), "no key is common; are these the same models"),
        (column([1, 2]), column([1, 2, 3], "B"), "measure more of the same networks on both"),
        (column([1, 2, 3]), column([math.nan] * 3, "B"), "a side has no figures at all"),
    ],
)
def test_too_few_shared_networks_are_refused_with_the_reason(
    first: LatencyColumn, second: LatencyColumn, reason: str
) -> None:
    with pytest.raises(InvalidInputError, match="a comparison needs 3") as refusal:
        compare(first, second)
    assert reason in str(refusal.value)
    assert f"of {second.name}" in str(refusal.value)


# -- the verdict -------------------------------------------------------------------------------------------------


def spread(low: float, high: float, count: int = 40) -> list[float]:
    """Second figures whose ratios to the lengths are spread evenly, in an order of their own."""
    ratios = np.random.default_rng(3).permutation(np.linspace(low, high, count))
    return (np.array(lengths(count)) * ratios).tolist()


@pytest.mark.parametrize(
    ("second", "words", "agrees"),
    [
        (spread(1.0, 1.01), "A and B agree: median ratio 1.005 (1.00", True),
        (
            spread(1.29, 1.33),
            "B is 1.31 times slower than A (1.30 to 1.32) and ranks the networks the same, 1.000",
            False,
        ),
        (spread(0.49, 0.51), "B is 2.00 times faster than A (1.99 to 2.01) and ranks the networks the same", False),
        (spread(1.02, 1.04), "B is 1.030 times slower than A (1.0", False),
        (spread(0.6, 1.6), "B may be faster or slower than A, which 40 networks cannot tell", None),
        (spread(1.005, 1.045), "B is 1.025 times slower than A (1.0", None),
    ],
)
def test_the_verdict_says_what_the_numbers_say(second: list[float], words: str, agrees: bool | None) -> None:
    found = compare(column(lengths(40)), column(second, "B"))
    if words.startswith("B may"):
        assert found.ratio_low < 0.98
        assert found.ratio_high > 1.02
        assert found.agrees is not True
    else:
        assert found.agrees is agrees
    assert words in found.verdict()


def test_other_ranks_at_the_same_speed_are_no_agreement() -> None:
    second = lengths(40)
    second[3], second[35] = second[35], second[3]
    found = compare(column(lengths(40)), column(second, "B"))
    assert (found.same_speed, found.agrees) == (True, False)
    assert found.verdict().startswith("B is as fast as A, median ratio 1.000 (1.000 to 1.000), and ranks the networks")
    assert "the networks differently, 0.8" in found.verdict()


def test_other_ranks_that_the_intervals_explain_are_said_to_be_so() -> None:
    first = [1 + place / 1000 for place in range(30)]
    second = list(reversed(first))
    found = compare(column(first, error=0.05), column(second, "B", error=0.05))
    assert found.verdict().endswith(
        "ranks the networks differently, -1.000, though no network moved by more than its intervals allow"
    )
    assert "though" not in compare(column(first, error=0.001), column(second, "B", error=0.001)).verdict()
    assert "though" not in compare(column(first), column(second, "B")).verdict()


def test_few_networks_get_numbers_and_no_verdict() -> None:
    found = scaled(1.0, count=4)
    assert found.agrees is None
    assert found.verdict() == (
        "whether A and B agree cannot be told: only 4 networks are in both, and 10 are needed; "
        "median ratio 1.000 (1.000 to 1.000)"
    )


def test_figures_that_nobody_measured_are_called_so() -> None:
    found = scaled(1.5, origin="replayed")
    assert found.verdict().startswith("the replayed figures of B are 1.50 times slower than A (1.50 to 1.50) and rank ")
    assert scaled(1.0, origin="imported").verdict().startswith("A and the imported figures of B agree: ")


def test_sides_of_one_name_are_told_apart_and_may_be_called_otherwise() -> None:
    one = column(lengths(), "phone")
    assert compare(one, one).verdict().startswith("phone (A) and phone (B) agree")
    assert compare(one, one).verdict("A", "B").startswith("A and B agree")


def test_a_correlation_below_the_threshold_is_never_shown_as_reaching_it() -> None:
    found = replace(scaled(1.0), spearman=0.98999)
    assert "nearly the same, 0.989" in found.verdict()
