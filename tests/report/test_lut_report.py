"""Tables and waterfalls of lookup-table studies."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from leti_opt.campaign.lut_result import DirectFigure, LutFigure, LutResult, ModelResult
from leti_opt.predictor.lut_sum import PieceTimes, TableEntry
from leti_opt.report.lut_table import costly_lines, table_rows
from leti_opt.report.lut_waterfall import waterfall_bars, waterfall_figure


def times(key: str, latency_ms: float, count: int = 1, stable: bool = True) -> PieceTimes:
    entry = TableEntry(key, "Conv2D", "8x8x4", latency_ms=latency_ms, std_ms=0.1, stable=stable)
    return PieceTimes((key,) * count, "Conv2D", "8x8x4", entry)


def result(*pieces: PieceTimes) -> LutResult:
    figures = (
        LutFigure("layer", 620.0, 3.6, 1.0, 68.0, 12, 3, unstable=pieces[:1], free=(times("d", 0.0, 2),)),
        LutFigure("residual", pieces=4, reason="the residual takes 2 other networks"),
    )
    model = ModelResult("resnet50", DirectFigure(552.0, 7.1, 0.5, 300), figures, {"layer": pieces})
    return LutResult("a phone", "android:A/cpu", "measured", "float32", (model,))


def test_a_row_has_both_figures_with_their_spread_and_the_error_as_in_the_paper() -> None:
    first, second = table_rows(result(times("a", 1.0, stable=False)))
    assert first == (
        "resnet50",
        "552.00 ± 7.10",
        "12 layer",
        "620.00 ± 3.60",
        "+68.000",
        "+12.3 %",
        "3 different; 2 without operators; 1 unstable",
    )
    assert second[3:] == ("-", "", "", "the residual takes 2 other networks")


def test_the_costliest_pieces_come_first_with_their_share() -> None:
    found = result(times("a", 1.0), times("b", 2.0, count=3, stable=False), times("c", 3.0))
    lines = costly_lines(found.models[0], "layer", most=2)
    assert [line.split()[:4] for line in lines] == [["6.0000", "ms", "60.0", "%"], ["3.0000", "ms", "30.0", "%"]]
    assert "3 x Conv2D  8x8x4  unstable" in lines[0]


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=40), st.integers(1, 10))
def test_bars_begin_where_the_one_before_ended_and_add_up_to_the_sum(costs: list[float], most: int) -> None:
    pieces = [times(str(place), cost) for place, cost in enumerate(costs)]
    bars = waterfall_bars(pieces, most)
    assert len(bars) <= most + 1
    assert bars[0].start_ms == 0
    for before, after in pairwise(bars):
        assert abs(after.start_ms - before.start_ms - before.latency_ms) < 1e-6
    assert abs(bars[-1].start_ms + bars[-1].latency_ms - sum(costs)) < 1e-6


def test_pieces_that_cost_nothing_have_no_bar_and_a_provisional_one_is_marked() -> None:
    bars = waterfall_bars([times("a", 1.0, stable=False), times("b", 0.0), times("c", 2.0)])
    assert [(bar.latency_ms, bar.provisional) for bar in bars] == [(2.0, False), (1.0, True)]


def test_a_waterfall_is_drawn(tmp_path: Path) -> None:
    path = waterfall_figure(result(times("a", 1.0), times("b", 2.0)), tmp_path / "costs.png")
    assert path.read_bytes()[:4] == b"\x89PNG"
