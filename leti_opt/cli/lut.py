"""``leti-opt lut``: networks as the sum of their layers and kernels."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from leti_opt.cli import lut_cells
from leti_opt.cli.common import (
    EXIT_INFEASIBLE,
    EXIT_UNSTABLE,
    DevicesOption,
    JsonOption,
    MinRunsOption,
    NetworkOption,
    SetOption,
    StoreOption,
    network_config,
    print_json,
    reports_errors,
    worst_code,
)
from leti_opt.cli.files import check_file, replacing
from leti_opt.cli.lut_models import lut_network
from leti_opt.cli.lut_steps import OrderSeedOption, PlanOption, PrepareOption, RetryOption, StudyProgress
from leti_opt.cli.pace import NewPaceOption, PaceOption, canary_of, watch_aloud
from leti_opt.errors import InvalidInputError

if TYPE_CHECKING:
    from leti_opt.campaign.lut_result import LutResult
    from leti_opt.campaign.lut_study import LutStudy


class _StudyByDefault(TyperGroup):
    """``leti-opt lut resnet50`` stands for ``lut study resnet50``, ``leti-opt lut --space …`` for ``lut cells``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["cells" if {"--space", "--cells"} & {*args} else "study", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_StudyByDefault,
    no_args_is_help=True,
    help="Networks as the sum of their layers and kernels: measure them, keep the table, predict others from it. "
    "'leti-opt lut MODEL...' is short for 'leti-opt lut study MODEL...', and with --space or --cells for "
    "'leti-opt lut cells'.",
)
app.command("cells")(lut_cells.cells)


@app.command("study")
@reports_errors
def study(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Networks of keras.applications (resnet50, nasnetmobile; random weights), .keras, .h5 or .tflite "
            "files, cells' texts, or hashes that the store knows."
        ),
    ],
    device: DevicesOption = None,
    network: NetworkOption = "nasbench101",
    changes: SetOption = None,
    store: StoreOption = "latency.db",
    granularity: Annotated[
        str,
        typer.Option(
            "--granularity",
            help="What is summed: layer, kernel (operators of the converted file), residual (kernels and two constants "
            "fitted on the other networks); several with commas.",
        ),
    ] = "layer,kernel,residual",
    precision: Annotated[
        str, typer.Option("--precision", help="What Keras models are converted to: float32, float16, dynamic, int8.")
    ] = "float32",
    min_runs: MinRunsOption = None,
    seed: OrderSeedOption = 0,
    plan: PlanOption = False,
    prepare: PrepareOption = False,
    retry_unstable: RetryOption = False,
    table: Annotated[
        Path | None,
        typer.Option("--table", help="Keep the last granularity's entries in this .parquet file; needs one device."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw which pieces cost the most into this .png; needs one device.")
    ] = None,
    pace: PaceOption = "usual",
    new_pace: NewPaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure networks whole and in pieces, and compare the sums. Pieces that the store knows are not measured again.

    Example: leti-opt lut study resnet50 nasnetmobile mobilenetv2 --device 'host-cpu?cores=0' --table host.parquet
    """
    uris = device or ["host-cpu"]
    _check_files(uris, table, picture)
    granularities = [each.strip() for each in granularity.split(",")]
    config = network_config(network, changes)
    if len(set(models)) < len(models):
        raise InvalidInputError("a network is named twice; name it once")
    from leti_opt.campaign.lut_service import study_protocol
    from leti_opt.campaign.lut_study import LutStudy
    from leti_opt.device.open_device import open_devices
    from leti_opt.predictor.lut_pieces import cutting_of
    from leti_opt.predictor.lut_residual import MIN_MODELS

    for wanted in granularities:
        cutting_of(wanted)
    if table is not None and granularities[-1] == "residual" and len(models) < MIN_MODELS:
        raise InvalidInputError(
            f"--table keeps the last granularity, and a residual is fitted on {MIN_MODELS} networks or more; name more "
            "networks, or end --granularity with layer or kernel"
        )
    networks = {name: lut_network(name, config, store) for name in models}
    settings: dict[str, Any] = {"precision": precision, "canary": canary_of(pace, new_pace), "seed": seed}
    results: list[LutResult] = []
    with ExitStack() as opened:
        studies = [
            opened.enter_context(
                LutStudy(networks, found, store, granularities, study_protocol(found, min_runs), **settings)
            )
            for found in open_devices(uris)
        ]
        if plan:
            _show_plans(studies, as_json)
            return
        for each in studies:
            watch_aloud(each.service)
            results.append(_run(each, prepare, retry_unstable))
            if not as_json:
                _print(results[-1])
            _keep(each, results[-1], granularities, table, picture)
    if as_json:
        print_json(results)
    if code := worst_code(code for result in results for code in _codes(result)):
        raise typer.Exit(code)


@app.command("predict")
@reports_errors
def predict(
    table: Annotated[Path, typer.Argument(help="A .parquet file that 'leti-opt lut study --table' wrote.")],
    model: Annotated[str, typer.Argument(help="As for 'leti-opt lut study'.")],
    network: NetworkOption = "nasbench101",
    changes: SetOption = None,
    store: StoreOption = "latency.db",
    as_json: JsonOption = False,
) -> None:
    """Predict a network's latency from a table of pieces. Nothing is measured; what the table lacks is listed.

    Example: leti-opt lut predict host.parquet my_model.keras
    """
    from leti_opt.predictor.lut import LatencyTable
    from leti_opt.report.lut_table import prediction_lines

    entries = LatencyTable.load(table)
    found = entries.predict(lut_network(model, network_config(network, changes), store), model)
    if as_json:
        print_json(found)
    else:
        typer.echo("\n".join(prediction_lines(found, entries.origin.device, entries.origin.measured)))
    if found.latency_ms is None:
        raise typer.Exit(EXIT_INFEASIBLE)
    if found.unstable:
        raise typer.Exit(EXIT_UNSTABLE)


def _check_files(uris: Sequence[str], table: Path | None, picture: Path | None) -> None:
    for option, path, ending in (("--table", table, ".parquet"), ("--picture", picture, ".png")):
        if path is None:
            continue
        check_file(option, path, ending)
        if len(uris) > 1:
            raise InvalidInputError(f"{option} is of one device; name one --device, or leave it out")


def _run(study: LutStudy, prepare: bool, retry_unstable: bool) -> LutResult:
    with StudyProgress() as progress:
        if prepare:
            study.prepare(progress.step)
        return study.run(progress.step, retry_unstable)


def _print(result: LutResult) -> None:
    from rich.console import Console

    from leti_opt.report.lut_table import HEADINGS, NOTE, costly_lines, table_rows
    from leti_opt.report.tables import plain_table

    console = Console(width=200, highlight=False, soft_wrap=True)
    console.print(f"on {result.device} ({result.origin}), precision {result.precision}", markup=False)
    console.print(plain_table(HEADINGS, table_rows(result)))
    typer.echo(NOTE)
    for model in result.models:
        for cutting in list(model.times)[:1]:
            typer.echo(f"\nthe costliest {cutting}s of {model.name}:")
            typer.echo("\n".join(costly_lines(model, cutting)))


def _keep(
    study: LutStudy, result: LutResult, granularities: Sequence[str], table: Path | None, picture: Path | None
) -> None:
    if table is not None:
        with replacing(table) as temporary:
            kept = study.table(granularities[-1])
            kept.save(temporary)
        typer.echo(f"{len(kept)} {granularities[-1]} entries are in {table}", err=True)
    if picture is not None:
        from leti_opt.report.lut_waterfall import waterfall_figure

        cutting = "layer" if "layer" in granularities and any("layer" in m.times for m in result.models) else "kernel"
        with replacing(picture) as temporary:
            waterfall_figure(result, temporary, cutting)
        typer.echo(f"the picture is in {picture}", err=True)


def _show_plans(studies: Sequence[LutStudy], as_json: bool) -> None:
    plans = [study.plan() for study in studies]
    if as_json:
        print_json(plans)
        return
    for study, found in zip(studies, plans, strict=True):
        pieces = [f"{count} {cutting}s, {found.distinct[cutting]} different" for cutting, count in found.pieces.items()]
        typer.echo(
            f"{study.service.device.uri}: {found.networks} whole; {'; '.join(pieces) or 'no pieces'}; "
            f"{found.stored} measured already, {found.to_measure} to measure"
        )
        for name, reason in found.refused.items():
            typer.echo(f"  {name}: {reason}")


def _codes(result: LutResult) -> list[int]:
    codes = []
    for model in result.models:
        # Too few other networks for a residual say nothing against this one.
        sums = [figure for figure in model.sums if figure.granularity != "residual" or figure.missing]
        without = model.direct.latency_ms is None or any(figure.latency_ms is None for figure in sums)
        unstable = not model.direct.stable or any(figure.unstable for figure in model.sums)
        codes.append(EXIT_INFEASIBLE if without else EXIT_UNSTABLE if unstable else 0)
    return codes
