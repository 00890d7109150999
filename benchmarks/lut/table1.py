"""Table 1 of the LETI paper on this host: networks measured whole, beside the sums of their layers and kernels.

Everything is converted first, then measured. The store keeps what was measured, so that an interrupted run goes on
where it was. The table goes to ``results/lut_table1.md`` with its figures beside it, and into ``docs/lut.md``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import asdict
from statistics import median
from typing import Any

from benchmarks.page import DOCS, put_into_page
from benchmarks.result_table import RESULTS, write_result
from leti_opt.campaign.lut_result import LutResult
from leti_opt.campaign.lut_study import LutStep, LutStudy
from leti_opt.cli.lut_models import lut_network
from leti_opt.network.config import NetworkConfig
from leti_opt.report.lut_table import HEADINGS, NOTE, costly_lines, markdown_table, table_rows
from leti_opt.report.lut_waterfall import waterfall_figure
from leti_opt.report.machine import describe_machine

PAGE = DOCS / "lut.md"
PICTURE = DOCS / "images" / "lut_waterfall.png"
CELL = "0-1,0-2,0-4,1-2,1-4,2-3,2-4,3-4:conv3x3-bn-relu,conv1x1-bn-relu,maxpool3x3"
MODELS = ("resnet50", "nasnetmobile", "mobilenetv2", "mobilenetv3small", "efficientnetb0", "resnet50v2", CELL)
CELL_FILTERS = 64
NAMES = {CELL: f"stacked NAS-Bench-101 cell, {CELL_FILTERS} filters"}
COSTLIEST = 5
_WRITER = "benchmarks.lut.table1"


def main() -> None:
    """Read the command line, measure what is missing, and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lut.table1", description=__doc__)
    parser.add_argument("--device", default="host-cpu", help="what measures")
    parser.add_argument("--store", default="lut_table1.db", help="keeps what was measured")
    parser.add_argument("--retry-unstable", action="store_true", help="measure once more what was unstable")
    parser.add_argument("--remark", help="what a reader should know of this run, printed with the table")
    options = parser.parse_args()
    config = NetworkConfig(filters=CELL_FILTERS)
    networks = {NAMES.get(name, name): lut_network(name, config, options.store) for name in MODELS}
    with LutStudy(networks, options.device, options.store) as study:
        print(study.plan(), file=sys.stderr, flush=True)
        study.prepare(_say)
        print("measuring", file=sys.stderr, flush=True)
        result = study.run(_say, options.retry_unstable)
        print("measured", file=sys.stderr, flush=True)
    write_tables(result, options.remark)


def _say(step: LutStep) -> None:
    if step.done % 50 == 0 or step.done == step.total:
        print(f"{step.done} of {step.total}, {step.source}", file=sys.stderr, flush=True)


def write_tables(result: LutResult, remark: str | None = None) -> None:
    """The result's page and figures, the waterfall, and the parts of ``docs/lut.md`` that are made of them."""
    rows = table_rows(result)
    errors = [_errors_row(result, place) for place in range(len(result.models[0].sums))]
    notes = [NOTE, *(f"{each[0]}: error {each[1]} in the median, {each[2]} at most ({each[3]})." for each in errors)]
    notes += [remark] if remark else []
    write_result("lut_table1", f"Networks as sums of their pieces, {result.device}", HEADINGS, rows, notes)
    (RESULTS / "lut_table1.json").write_text(json.dumps(_as_data(result), indent=1) + "\n")
    waterfall_figure(LutResult(**vars(result) | {"models": result.models[:2]}), PICTURE)
    machine = describe_machine()
    command = shlex.join(["python", "-m", "benchmarks.lut.table1", *sys.argv[1:]])
    page = RESULTS / "lut_table1.md"
    when = page.read_text().strip().splitlines()[-1].partition(", `")[0]
    origin = [
        f"{machine.processor}, {machine.system}, {machine.runtime}, {result.device}; {when}; `{command}`",
        *(["", remark] if remark else []),
    ]
    put_into_page(PAGE, "table", [*markdown_table(HEADINGS, rows), "", NOTE, "", *origin], _WRITER)
    put_into_page(PAGE, "errors", markdown_table(["pieces", "median error", "largest", "of"], errors), _WRITER)
    costly = [
        line for model in result.models[:2] for line in [f"{model.name}:", *costly_lines(model, "layer", COSTLIEST)]
    ]
    put_into_page(PAGE, "costly", ["```", *costly, "```"], _WRITER)


def _errors_row(result: LutResult, place: int) -> list[str]:
    """A granularity's errors over all networks, whatever their sign."""
    shares = [(abs(model.error_share(model.sums[place]) or 0.0), model.name) for model in result.models]
    largest, name = max(shares)
    return [
        result.models[0].sums[place].granularity,
        f"{100 * median(share for share, _ in shares):.1f} %",
        f"{100 * largest:.1f} %",
        name,
    ]


def _as_data(result: LutResult) -> dict[str, Any]:
    """The figures, without the pieces' names."""
    left_out = ("free", "missing", "unstable", "times")
    models = [
        {
            "model": model.name,
            "direct": asdict(model.direct),
            "sums": [
                {key: value for key, value in asdict(figure).items() if key not in left_out}
                | {"unstable": len(figure.unstable), "free": sum(each.count for each in figure.free)}
                for figure in model.sums
            ],
        }
        for model in result.models
    ]
    return {"device": result.device, "uri": result.uri, "origin": result.origin, "models": models}


if __name__ == "__main__":
    main()
