"""``leti-opt compare``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leti_opt.cli.common import JsonOption, SetOption, print_json, reports_errors
from leti_opt.cli.files import check_file, replacing
from leti_opt.errors import InvalidInputError

if TYPE_CHECKING:
    from leti_opt.report.comparison import Comparison

EXIT_NO_AGREEMENT = 1


@reports_errors
def compare(
    first: Annotated[
        str | None,
        typer.Argument(
            metavar="A",
            help="A store, or a Parquet or CSV file that one exported, with ?device=, epoch=, since=, until=, "
            "network=, statistic= to choose from it.",
        ),
    ] = None,
    second: Annotated[str | None, typer.Argument(metavar="B", help="The same, for the other side.")] = None,
    statistic: Annotated[
        str | None, typer.Option("--statistic", help="What is compared: mean (if absent), median, p95, p5, min, max.")
    ] = None,
    moved: Annotated[
        int | None,
        typer.Option("--moved", min=0, help="How many of the networks that moved most to list; 5 if absent."),
    ] = None,
    figure: Annotated[Path | None, typer.Option("--figure", help="Draw the comparison into this .png file.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of the bootstrap interval; 0 if absent.")] = None,
    require_agreement: Annotated[
        bool, typer.Option("--require-agreement", help="Exit with 1 unless the verdict is that A and B agree.")
    ] = False,
    panel: Annotated[
        bool, typer.Option("--panel", help="Measure the store's panel on a device, and link its epochs or say why not.")
    ] = False,
    device: Annotated[str | None, typer.Option("--device", "-d", help="With --panel: the device's URI.")] = None,
    store: Annotated[str | None, typer.Option("--store", help="With --panel: the store; latency.db if absent.")] = None,
    network: Annotated[
        str | None, typer.Option("--network", "-n", help="With --panel: the panel's network; nasbench101 if absent.")
    ] = None,
    changes: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare latencies of the same networks on two devices, in two epochs, at two times, or from two files.

    Example: leti-opt compare "latency.db?until=2026-01-31" "latency.db?since=2026-02-01" --figure compared.png
    """
    if panel:
        sides_only = {
            "A": first,
            "--statistic": statistic,
            "--moved": moved,
            "--figure": figure,
            "--seed": seed,
            "--require-agreement": require_agreement or None,
        }
        _refuse(sides_only, "--panel measures a panel and takes no {given}; leave it out, or leave out --panel")
        from leti_opt.cli.compare_panel import run_panel

        run_panel(device or "host-cpu", store or "latency.db", network or "nasbench101", changes, as_json)
        return
    panel_only = {"--device": device, "--store": store, "--network": network, "--set": changes or None}
    _refuse(panel_only, "{given} goes with --panel; choose from a side with 'latency.db?device=NAME&network=DIGEST'")
    if first is None or second is None:
        raise InvalidInputError("name the two sides, for instance: leti-opt compare before.db after.db")
    compared = _compared(first, second, statistic or "mean", seed or 0, figure, 5 if moved is None else moved)
    if as_json:
        print_json(_as_data(compared))
    else:
        _print(compared, 5 if moved is None else moved, figure)
    if require_agreement and not compared.agrees:
        raise typer.Exit(EXIT_NO_AGREEMENT)


def _refuse(options: Mapping[str, object], message: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise InvalidInputError(message.format(given=name))


def _compared(first: str, second: str, statistic: str, seed: int, figure: Path | None, moved: int) -> Comparison:
    from leti_opt.report.comparison import compare as compare_columns
    from leti_opt.report.comparison_source import read_column

    if figure is not None:
        check_file("--figure", figure, ".png")
    compared = compare_columns(read_column(first, statistic), read_column(second, statistic), seed)
    if figure is not None:
        from leti_opt.report.comparison_figure import comparison_figure

        with replacing(figure) as temporary:
            comparison_figure(compared, temporary, moved)
    return compared


def _as_data(compared: Comparison) -> dict[str, object]:
    """Everything, with the verdict first."""
    from dataclasses import asdict

    return {"verdict": compared.verdict(), "agrees": compared.agrees, **asdict(compared)}


def _print(compared: Comparison, moved: int, figure: Path | None) -> None:
    from leti_opt.report.comparison_text import comparison_lines, moved_lines

    for line in [*comparison_lines(compared), *moved_lines(compared, moved)]:
        typer.echo(line)
    if figure is not None:
        typer.echo(f"the picture is in {figure}")
    typer.echo(compared.verdict("A", "B"))
