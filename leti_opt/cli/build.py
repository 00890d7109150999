"""``leti-opt build`` and ``leti-opt convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leti_opt.cli.common import (
    NetworkOption,
    SetOption,
    StoreOption,
    network_config,
    reports_errors,
)
from leti_opt.cli.files import replacing
from leti_opt.cli.models import KERAS_SUFFIXES, cell_of_hash, converted, is_hash, load_keras
from leti_opt.errors import InvalidInputError

OutputOption = Annotated[Path, typer.Option("--output", "-o", help="File to write; its suffix says what.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of the random weights.")]


@reports_errors
def build(
    cell: Annotated[str, typer.Argument(help="A cell's text, or the hash of one that the store knows.")],
    output: OutputOption,
    network: NetworkOption = "nasbench101",
    changes: SetOption = None,
    seed: SeedOption = 0,
    store: StoreOption = "latency.db",
) -> None:
    """Build a cell's network, with random weights, as a Keras (.keras) or TFLite (.tflite) file.

    Example: leti-opt build 0-1,1-2:conv3x3-bn-relu --network small -o net.tflite
    """
    if output.suffix not in (".keras", ".tflite"):
        raise InvalidInputError(f"{output} must end with .keras or .tflite")
    from leti_opt.architecture import Architecture
    from leti_opt.network.assembly import build_layer_graph
    from leti_opt.network.keras_model import build_keras_model
    from leti_opt.network.rendering import render_tflite

    config = network_config(network, changes)
    architecture = cell_of_hash(cell, store) if is_hash(cell) else Architecture.parse(cell)
    graph = build_layer_graph(architecture, config)
    with replacing(output) as temporary:
        if output.suffix == ".keras":
            build_keras_model(graph, seed).save(temporary)
        else:
            temporary.write_bytes(render_tflite(graph, seed=seed))
    typer.echo(f"{output}: {output.stat().st_size:,} bytes, {graph.precision}")


@reports_errors
def convert(
    model: Annotated[str, typer.Argument(help="A Keras file, .keras or .h5.")],
    output: OutputOption,
    precision: Annotated[str, typer.Option("--precision", help="float32, float16, dynamic or int8.")] = "float32",
) -> None:
    """Convert a Keras file to TFLite with the TF converter. Full int8 is calibrated with random input.

    Example: leti-opt convert net.keras -o net.tflite --precision float16
    """
    from leti_opt.network.tflite_converter import check_precision

    if output.suffix != ".tflite":
        raise InvalidInputError(f"{output} must end with .tflite")
    if not model.endswith(KERAS_SUFFIXES):
        raise InvalidInputError(f"{model} must be a Keras file, {' or '.join(KERAS_SUFFIXES)}")
    check_precision(precision)
    with replacing(output) as temporary:
        temporary.write_bytes(converted(load_keras(model), model, precision))
    typer.echo(f"{output}: {output.stat().st_size:,} bytes, {precision}")
