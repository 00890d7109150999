"""Gathers every benchmark's figures into ``benchmarks/README.md``, beside what they should be."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.result_table import FIGURES_SUFFIX, RESULTS, Figure

HERE = Path(__file__).parent
HEAD = """# Benchmarks

`make benchmark` runs the speed benchmarks, each beside the slow way in the same run, and `make benchmark-predictors
DATA=FOLDER` those of the predictors; both write this page with `python -m benchmarks.summary`. Every number below was
measured; the tables that it comes from are in [results](results), each with its machine, commit and command.
"""

_FEW_SMALL = (
    "some ten of 900 cells of different classes have one or two live edges, and an eighth of all cells; these are the "
    "quickest, and predicted worst (results/prediction_noise.md): what an operation costs alone must be told from what "
    "it costs among others"
)
_READING = (
    "some 2 us a cell go to reading 90 features off it in numpy, 1.3 us to sums of 350 features and covariances with "
    "300 points; a compiled kernel would help"
)
_WITHIN, _OFF = "within ±10 % of the latency, {}, 900 cells", "90 % intervals off their share, {}"
_PUBLIC = "desktop_gtx_1080ti_fp32", "snapdragon_855_gpu_adreno_640_int8"
_UNLIKE = (
    "HELP's four devices are where 900 cells of their own get them; LatBench's are unlike the sources, the desktop's "
    "GPU most of all (results/transfer.md)"
)

_ALL_STATES = (
    "SQLite reads 424,000 entries of an index in about 0.18 s for each device, and 0.2 s once for the cells, one after "
    "the other; a stored count would have to be kept right by every writer"
)

OBSTACLES = {
    "campaign of 1,270,872 measurements, status": _ALL_STATES,
    "store of 1,270,872 measurements, states of all cells on three devices, a core": _ALL_STATES,
    "store of 1,270,872 measurements, Parquet export, a core": (
        "rows of 50 columns pass through Python one by one; the data set of a campaign, which has fewer, takes 19 s"
    ),
    **{text.format(f"latbench/{name}"): _FEW_SMALL for name in _PUBLIC for text in (_WITHIN, _OFF)},
    _WITHIN.format("latbench/jetson_nano_gpu_fp32"): (
        "not known: the worst cells are of no kind (results/prediction_noise.md), and 3,000 cells hardly help "
        "(results/learning_curves.md)"
    ),
    **{f"transfer to a new device, {cells} cells, mean of 11 targets": _UNLIKE for cells in (10, 20)},
    _OFF.format("latbench/snapdragon_855_cpu_int8"): _FEW_SMALL,
    _WITHIN.format("latbench/snapdragon_855_cpu_int8"): (
        "noise: of cells that were measured twice as twins, 87 % are within ±10 % of what both share"
    ),
    **{
        f"predicting, features included, a core ({space})": _READING
        for space in ("NAS_BENCH_201, unpruned", "NAS_BENCH_101, a sample")
    },
    "enumeration with all hashes of NAS-Bench-101, against the definition done plainly": (
        "52 million blocks of MD5 at about 130 ns each, ten operations on arrays a step; a compiled kernel would help"
    ),
    "intervals that hold, worst trace": "a load that grows steadily was not there yet when the looks were taken",
    "runs saved at ±1 %, steadiest trace, if its runs were independent": (
        "this host's pace wanders so far that no number of runs in a row is sure to 1 %; the rule refuses that here"
    ),
}
"""What stands in the way of aims that were missed."""


def main() -> None:
    """Write the page from the figures that the benchmarks left."""
    lines = [HEAD, "| what | measured | at least | aim | |", "| --- | --- | --- | --- | --- |"]
    origins = []
    for path in sorted(RESULTS.glob(f"*{FIGURES_SUFFIX}")):
        data = json.loads(path.read_text())
        name = path.name.removesuffix(FIGURES_SUFFIX)
        lines += [_row(Figure(**figure)) for figure in data["figures"]]
        origins.append(f"* [{name}](results/{name}.md): {'; '.join(data['origin'])}")
    (HERE / "README.md").write_text("\n".join([*lines, "", *origins, "", *_others(), ""]))
    print((HERE / "README.md").read_text())


def _row(figure: Figure) -> str:
    verdict = "met" if figure.aim is None else "aim met"
    if not figure.meets(figure.aim):
        verdict = "met, aim missed" if figure.meets(figure.at_least) else "missed"
        verdict += f": {OBSTACLES[figure.what]}" if figure.what in OBSTACLES else ""
    elif not figure.meets(figure.at_least):
        verdict = "missed"
    sign = "at most " if figure.smaller_is_better else ""
    limits = [
        f"{sign}{_number(limit)} {figure.unit}".strip() if limit else "" for limit in (figure.at_least, figure.aim)
    ]
    return f"| {figure.what} | {_number(figure.measured)} {figure.unit} | {limits[0]} | {limits[1]} | {verdict} |"


def _number(value: float | None) -> str:
    """Three significant digits, thousands grouped.

    >>> _number(1234.5), _number(0.012345)
    ('1,234', '0.0123')
    """
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _others() -> list[str]:
    """Tables without limits to meet."""
    with_figures = {path.name.removesuffix(FIGURES_SUFFIX) for path in RESULTS.glob(f"*{FIGURES_SUFFIX}")}
    names = sorted(path.stem for path in RESULTS.glob("*.md") if path.stem not in with_figures)
    return ["Further tables: " + ", ".join(f"[{name}](results/{name}.md)" for name in names) + "."] if names else []


if __name__ == "__main__":
    main()
