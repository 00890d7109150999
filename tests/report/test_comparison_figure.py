"""The picture of a comparison: what it shows, and that nothing in it covers anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
from matplotlib.text import Text

from leti_opt.report.comparison import Comparison, compare
from leti_opt.report.comparison_figure import comparison_figure
from tests.report.test_comparison import column, lengths
from tests.report.test_figures import size_of_png


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every matplotlib figure that was made."""
    made: list[Any] = []
    plain = matplotlib.figure.Figure.__init__

    def remembered(self: Any, *arguments: Any, **settings: Any) -> None:
        made.append(self)
        plain(self, *arguments, **settings)

    monkeypatch.setattr(matplotlib.figure.Figure, "__init__", remembered)
    return made


def noisy(count: int, span: float = 1.05, error: float | None = 0.01) -> Comparison:
    random = np.random.default_rng(1)
    first = [span**place for place in range(count)]
    second = [1.3 * ms * factor for ms, factor in zip(first, np.exp(random.normal(0, 0.1, count)), strict=True)]
    return compare(column(first, "one", error=error), column(second, "other", "replayed", error=error))


def test_the_picture_names_both_sides_with_their_origin_and_the_verdict(tmp_path: Path, drawn: list[Any]) -> None:
    found = noisy(40)
    path = comparison_figure(found, tmp_path / "compared.png")
    assert size_of_png(path) == (1560, 910)
    title = drawn[0].get_suptitle()
    assert title.splitlines()[:2] == ["A: one, measured", "B: other, replayed"]
    assert " ".join(title.split()).endswith(found.verdict("A", "B"))
    left, right = drawn[0].axes
    assert left.get_xlabel() == "A: latency in ms (measured)"
    assert left.get_ylabel() == "B: latency in ms (replayed)"
    names = [text.get_text() for text in left.get_legend().get_texts()]
    assert f"B = {found.ratio:.3f} · A (median ratio)" in names
    assert "±5 % of it" in names
    assert "40 networks" in names
    assert sum(patch.get_height() for patch in right.patches[:-1]) >= 40


@pytest.mark.parametrize("moved", [0, 5, 12])
def test_numbers_of_moved_networks_cover_neither_each_other_nor_the_edge(
    tmp_path: Path, drawn: list[Any], moved: int
) -> None:
    comparison_figure(noisy(60, span=1.01), tmp_path / "compared.png", moved)
    left = drawn[0].axes[0]
    assert [text.get_text() for text in left.texts] == [str(number) for number in range(1, moved + 1)]
    drawn[0].canvas.draw()
    renderer = drawn[0].canvas.get_renderer()
    boxes = [Text.get_window_extent(text, renderer) for text in left.texts]  # without the line to its point
    frame = left.get_window_extent(renderer)
    for place, box in enumerate(boxes):
        assert frame.contains(*box.min)
        assert frame.contains(*box.max)
        assert not any(box.overlaps(other) for other in boxes[:place])


def test_axes_are_logarithmic_where_latencies_span_much(tmp_path: Path, drawn: list[Any]) -> None:
    comparison_figure(noisy(60, span=1.2), tmp_path / "wide.png")
    comparison_figure(noisy(20, span=1.01), tmp_path / "narrow.png")
    assert [figure.axes[0].get_xscale() for figure in drawn] == ["log", "linear"]


def test_bars_are_drawn_only_where_an_interval_is_known(tmp_path: Path, drawn: list[Any]) -> None:
    comparison_figure(noisy(20), tmp_path / "bars.png")
    comparison_figure(noisy(20, error=None), tmp_path / "none.png")
    assert [len(figure.axes[0].containers[0].lines[2]) for figure in drawn] == [2, 0]


@pytest.mark.parametrize("count", [3, 300])
def test_equal_sides_and_few_or_many_networks_are_drawn_too(tmp_path: Path, count: int) -> None:
    same = column(lengths(count) if count < 10 else [1 + place / 100 for place in range(count)], error=0.01)
    assert size_of_png(comparison_figure(compare(same, same), tmp_path / "same.png")) == (1560, 910)
    assert size_of_png(comparison_figure(noisy(count, 1.01), tmp_path / "noisy.png")) == (1560, 910)


def test_figures_that_are_all_equal_are_drawn_too(tmp_path: Path) -> None:
    flat = column([2.0] * 12)
    assert size_of_png(comparison_figure(compare(flat, flat), tmp_path / "flat.png")) == (1560, 910)


def test_long_names_stay_within_the_picture(tmp_path: Path, drawn: list[Any]) -> None:
    name = "formula " + " ".join(f"option_{number}={number}" for number in range(30))
    comparison_figure(compare(column(lengths(), name), column(lengths(), name)), tmp_path / "long.png")
    drawn[0].canvas.draw()
    title = drawn[0]._suptitle.get_window_extent(drawn[0].canvas.get_renderer())
    assert title.x0 >= 0
    assert title.x1 <= drawn[0].bbox.x1
    assert title.y0 >= drawn[0].axes[0].get_window_extent().y1
