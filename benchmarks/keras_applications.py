"""Every network of keras.applications: converted, read with read_tflite, its costs beside TensorFlow's and Keras' own.

Each network runs in a process of its own, from the quickest to the slowest. Its line goes into
``results/keras_applications.jsonl`` when it is done, so that a later run goes on where this one ended; the table is
made from these lines.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.result_table import RESULTS, write_result
from leti_opt.network.cost import network_cost
from leti_opt.network.gpu_support import RULES, gpu_support, operator_facts
from leti_opt.network.layer_graph import LayerGraph, LayerKind
from leti_opt.network.tflite_converter import convert_tflite, converter_version
from leti_opt.network.tflite_reader import read_tflite
from leti_opt.report.machine import describe_machine
from tests.network.keras_files import application, application_names
from tests.network.tensorflow_flops import grouped_flops, ungrouped_flops

LINES = RESULTS / "keras_applications.jsonl"
QUICKEST = [
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "MobileNetV3Large",
    "VGG16",
    "EfficientNetB0",
    "ResNet50V2",
    "DenseNet121",
    "NASNetMobile",
    "InceptionV3",
    "Xception",
    "EfficientNetV2B0",
    "ConvNeXtTiny",
    "ResNet50",
    "EfficientNetB1",
    "EfficientNetB2",
    "EfficientNetV2B1",
    "EfficientNetV2B2",
    "EfficientNetB3",
    "EfficientNetV2B3",
    "VGG19",
    "ResNet101",
    "ResNet101V2",
    "DenseNet169",
    "DenseNet201",
    "ConvNeXtSmall",
    "ConvNeXtBase",
    "ResNet152",
    "ResNet152V2",
    "InceptionResNetV2",
    "EfficientNetB4",
    "EfficientNetV2S",
    "EfficientNetB5",
    "EfficientNetB6",
    "NASNetLarge",
    "EfficientNetV2M",
    "ConvNeXtLarge",
    "EfficientNetV2L",
    "EfficientNetB7",
    "ConvNeXtXLarge",
]
"""An order to run in, one of each family early; networks that it does not know come last."""
HEADINGS = [
    "model",
    "operators",
    "opaque kinds",
    "GFLOPs",
    "the profiler's",
    "parameters in the file",
    "trainable in Keras",
    "convert, s",
    "read, s",
    *RULES,
]


def main() -> None:
    """Read the command line, run what is missing, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.keras_applications", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks to run; all of them by default")
    parser.add_argument("--anew", action="store_true", help="run also what has its line already")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after that long; 0 only writes the table")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    every = sorted(application_names(), key=lambda name: QUICKEST.index(name) if name in QUICKEST else len(QUICKEST))
    unknown = sorted(set(options.names) - set(every))
    if unknown:
        parser.error(f"keras.applications has no {', '.join(unknown)}; it has {', '.join(every)}")
    if options.child:
        for facts in facts_of(options.names[0]):
            print(json.dumps(facts), flush=True)
        return
    run([name for name in options.names or every if options.anew or name not in read_lines()], options.minutes)
    rows = read_lines()
    write_table([rows[name] for name in every if name in rows], [name for name in every if name not in rows])


def facts_of(name: str) -> Iterator[dict[str, Any]]:
    """What is found about a network, part by part, so that a part that fails leaves the others standing."""
    yield {"model": name}
    model = application(name)
    yield {"trainable": sum(math.prod(weights.shape) for weights in model.trainable_weights)}
    started = time.process_time()
    content = convert_tflite(model)
    converted = time.process_time()
    yield {"bytes": len(content), "convert_s": converted - started}
    started = time.process_time()
    graph = read_tflite(content)
    yield {"read_s": time.process_time() - started}
    cost = network_cost(graph)
    yield {
        "operators": sum(1 for _ in operator_facts(graph)),
        "opaque": sorted({layer.operator for layer in graph.layers if layer.kind is LayerKind.OPAQUE}),
        "flops": cost.flops,
        "parameters": cost.parameters,
        "refused": {rules: _refused(graph, rules) for rules in RULES},
    }
    # The largest networks' weights need the room for TensorFlow's own copies.
    del content, graph
    yield {"grouped_flops": grouped_flops(model)}
    yield {"profiled_flops": ungrouped_flops(model)}


def _refused(graph: LayerGraph, rules: str) -> dict[str, int]:
    """How many operators of each kind."""
    return dict(sorted(Counter(refusal.operator for refusal in gpu_support(graph, rules).refusals).items()))


def run(names: Sequence[str], minutes: float) -> None:
    """One line for each network; one that the end of the time cuts off has none."""
    deadline = time.monotonic() + 60 * minutes
    for number, name in enumerate(names, start=1):
        left = deadline - time.monotonic()
        if left <= 0:
            return
        try:
            row = _run_one(name, None if math.isinf(left) else left)
        except subprocess.TimeoutExpired:
            return
        LINES.parent.mkdir(exist_ok=True)
        with LINES.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{number} of {len(names)}: {name} {row.get('failed', '')}", file=sys.stderr, flush=True)


def _run_one(name: str, timeout_s: float | None) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.keras_applications", "--child", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    if not done.stdout.strip():
        sys.exit(f"{' '.join(command)} did not come as far as its network; nothing is kept of it\n{done.stderr}")
    row = {"model": name, "converter": converter_version(), "tool": describe_machine().tool}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            row |= json.loads(line)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        row["failed"] = f"exit status {done.returncode}: {last[:200]}"
    return row


def read_lines() -> dict[str, dict[str, Any]]:
    """The last line of each network."""
    if not LINES.exists():
        return {}
    rows = [json.loads(line) for line in LINES.read_text().splitlines()]
    return {row["model"]: row for row in rows}


def write_table(rows: Sequence[dict[str, Any]], missing: Sequence[str]) -> None:
    """What was found, and what was not run."""
    compared = [row for row in rows if "profiled_flops" in row]
    equal = sum(_is_equal(row) for row in compared)
    grouped = [row["model"] for row in compared if row["grouped_flops"]]
    notes = [
        f"{len(rows)} of {len(rows) + len(missing)} networks run, {sum('failed' in row for row in rows)} of these "
        f"failed; FLOPs exactly equal to those of TensorFlow's profiler in {equal} of the {len(compared)} that it did.",
        *([f"Not run: {', '.join(missing)}."] if missing else []),
        *(f"{row['model']}: {row['failed'].replace('|', '/')}." for row in rows if "failed" in row),
        "FLOPs: 2 x multiply-accumulates of convolutions and dense layers, for one image. The profiler has no figures "
        f"for convolutions in groups: their FLOPs by definition are added to its own ({', '.join(grouped) or 'none'}).",
        "Parameters in the file are weights and biases of convolutions and dense layers. Batch norm is folded into "
        "them, which halves its trainable ones; layer norm and scales that stay MUL and ADD are not among them.",
        "Seconds are of processor time, all threads together, since the machine had other work to do.",
        f"GPU forecast by the rules {' and '.join(RULES)}: 'fits', or how many operators are refused. The models are "
        "as keras.applications makes them, with an open batch: their files work sizes out with SHAPE and PACK.",
        *sorted({f"Made with {row['converter']}, leti_opt {row['tool']}." for row in rows}),
    ]
    title = "The networks of keras.applications, read from their TFLite files"
    write_result("keras_applications", title, HEADINGS, [_cells(row) for row in rows], notes)


def _cells(row: dict[str, Any]) -> list[str]:
    if "operators" not in row:
        return [row["model"], "failed", *[""] * (len(HEADINGS) - 2)]
    return [
        row["model"],
        str(row["operators"]),
        ", ".join(row["opaque"]) or "none",
        f"{row['flops'] / 1e9:,.3f}",
        _comparison(row),
        f"{row['parameters']:,}",
        f"{row['trainable']:,}",
        f"{row['convert_s']:.1f}",
        f"{row['read_s']:.2f}",
        *(_verdict(row["refused"][rules]) for rules in RULES),
    ]


def _verdict(refused: dict[str, int]) -> str:
    return f"{sum(refused.values())} refused: {', '.join(refused)}" if refused else "fits"


def _comparison(row: dict[str, Any]) -> str:
    if "profiled_flops" not in row:
        return "failed"
    grouped = f" + {row['grouped_flops'] / 1e9:.3f} grouped" if row["grouped_flops"] else ""
    found = f"{row['profiled_flops'] / 1e9:,.3f}{grouped}"
    return f"equal{': ' + found if grouped else ''}" if _is_equal(row) else f"differs: {found}"


def _is_equal(row: dict[str, Any]) -> bool:
    return bool(row["flops"] == row["profiled_flops"] + row["grouped_flops"])


if __name__ == "__main__":
    main()
