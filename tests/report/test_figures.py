"""The picture of a search: a real PNG, and what it says of where its figures come from."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from leti_opt.architecture import NAS_BENCH_101_LABELS, Architecture
from leti_opt.errors import InvalidInputError
from leti_opt.report import figures
from leti_opt.report.canvas import blank_figure
from leti_opt.report.cell_drawing import cell_layout, draw_cell
from leti_opt.report.figures import search_figure
from leti_opt.search.architecture_search import SearchResult
from tests.report.results import NETWORK, searched

CONV3, CONV1, POOL = NAS_BENCH_101_LABELS


def size_of_png(path: Path) -> tuple[int, int]:
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert content[-8:-4] == b"IEND"
    width, height = struct.unpack(">II", content[16:24])
    return width, height


@pytest.fixture
def drawn_figure(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every matplotlib figure that was made."""
    made: list[Any] = []

    def remembered(*inches: float) -> Any:
        made.append(blank_figure(*inches))
        return made[-1]

    monkeypatch.setattr(figures, "blank_figure", remembered)
    return made


def legend(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_a_picture_of_accuracy_and_latency_is_a_png_of_a_useful_size(tmp_path: Path, drawn_figure: list[Any]) -> None:
    result = searched()
    path = search_figure(result, NETWORK, tmp_path / "front.png", "a title\nformula, simulated")
    assert path == tmp_path / "front.png"
    assert size_of_png(path) == (1300, 1105)
    assert path.stat().st_size > 20_000
    axes = drawn_figure[0].axes
    assert axes[0].get_title() == "a title\nformula, simulated"
    assert axes[0].get_ylabel() == "accuracy in %"
    assert axes[0].get_xlabel() == "latency in ms, batch of 1"
    assert f"simulated ({len(result.measured)})" in legend(drawn_figure[0])
    assert "Pareto front" in legend(drawn_figure[0])
    assert not any("measured" in text for text in legend(drawn_figure[0]))


@pytest.mark.parametrize("with_accuracy", [True, False])
def test_cells_of_the_front_are_drawn_with_their_number_in_the_table(
    tmp_path: Path, drawn_figure: list[Any], with_accuracy: bool
) -> None:
    result = searched(budget=20, with_accuracy=with_accuracy)
    search_figure(result, NETWORK, tmp_path / "front.png", "title")
    titles = [axes.get_title() for axes in drawn_figure[0].axes[1:]]
    numbers = [int(title.split(":")[0]) for title in titles]
    assert numbers == sorted(set(numbers))
    assert (numbers[0], numbers[-1], len(numbers)) == (1, len(result.front), min(4, len(result.front)))
    for number, title in zip(numbers, titles, strict=True):
        cell = result.front[number - 1]
        share = f", {100 * cell.accuracy:.1f} %" if cell.accuracy is not None else ""
        assert title == f"{number}: {cell.latency_ms:.3g} ms{share}"


def test_a_search_for_latency_alone_is_drawn_against_flops(tmp_path: Path, drawn_figure: list[Any]) -> None:
    search_figure(searched(with_accuracy=False), NETWORK, tmp_path / "front.png", "title")
    assert drawn_figure[0].axes[0].get_ylabel() == "FLOPs in millions"
    assert "Pareto front" not in legend(drawn_figure[0])


def test_provisional_cells_are_drawn_apart(tmp_path: Path, drawn_figure: list[Any]) -> None:
    result = searched("replay:formula?seed=1&unstable=0.4")
    search_figure(result, NETWORK, tmp_path / "front.png", "title")
    provisional = {s.evaluation.architecture for s in result.steps if s.evaluation.answer.provisional}
    assert 0 < len(provisional) < 12
    assert f"provisional: spread above the rule ({len(provisional)})" in legend(drawn_figure[0])


def test_only_provisional_cells_can_be_drawn_too(tmp_path: Path, drawn_figure: list[Any]) -> None:
    search_figure(searched("replay:formula?seed=1&unstable=1"), NETWORK, tmp_path / "front.png", "title")
    assert size_of_png(tmp_path / "front.png") == (1300, 1105)
    assert len(drawn_figure[0].axes) == 1


def test_nothing_measured_is_nothing_to_draw(tmp_path: Path) -> None:
    for result in (SearchResult(()), searched("replay:formula?seed=1&infeasible=1", budget=3)):
        with pytest.raises(InvalidInputError, match="no cell was measured"):
            search_figure(result, NETWORK, tmp_path / "front.png", "title")
    assert list(tmp_path.iterdir()) == []


def test_a_cell_is_laid_out_in_rows_below_what_feeds_it() -> None:
    cell = Architecture.parse(f"0-1,0-2,0-4,1-3,2-3,3-4:{CONV3},{CONV1},{POOL}")
    positions = cell_layout(cell)
    assert positions[0] == (0.0, 0.0)
    assert {positions[1], positions[2]} == {(-0.5, -1.0), (0.5, -1.0)}
    assert (positions[3], positions[4]) == ((0.0, -2.0), (0.0, -3.0))
    assert all(positions[source][1] > positions[target][1] for source, target in cell.edges)


def test_no_two_vertices_of_a_wide_cell_share_a_place() -> None:
    cell = Architecture.parse("0-1,0-2,0-3,0-4,0-5,1-6,2-6,3-6,4-6,5-6:" + ",".join([CONV3] * 5))
    assert len(set(cell_layout(cell))) == 7


def test_a_drawn_cell_names_every_vertex_and_edge() -> None:
    axes = blank_figure(4, 5).add_subplot()
    cell = Architecture.parse(f"0-1,0-2,0-3,1-2,2-3:{CONV3},{POOL}")
    draw_cell(axes, cell, "mine")
    texts = [text.get_text() for text in axes.texts]
    assert sorted(filter(None, texts)) == sorted(cell.operations)
    assert texts.count("") == len(cell.edges)
    assert axes.get_title() == "mine"
