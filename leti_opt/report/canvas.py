"""Blank figures that are drawn into files: without a window, and without pyplot's list of open figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def blank_figure(width_inches: float, height_inches: float) -> Figure:
    """A figure whose parts find their places by themselves."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
