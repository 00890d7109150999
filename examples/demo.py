"""The first screen: search NAS-Bench-101 cells for low latency and good accuracy on this machine.

Run it with ``make demo``. The second run answers from the store and measures nothing anew.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import typer

from leti_opt import (
    AccuracyLatencyObjective,
    Architecture,
    DeviceLatencyObjective,
    LatencyStore,
    NetworkConfig,
    open_device,
)
from leti_opt.accuracy import StoredAccuracy
from leti_opt.cli.quiet import QuietDigitsAccuracy
from leti_opt.cli.search import draw, print_result, run_shown
from leti_opt.errors import LetiError
from leti_opt.objective.questions import cell_question
from leti_opt.report.machine import describe_machine
from leti_opt.report.trust import check_trust
from leti_opt.search import ArchitectureSearch, SearchSettings

NETWORK = NetworkConfig.small(filters=64)
TRUST_CELL = Architecture.parse("0-1,0-2,1-2,1-3,2-3:conv3x3-bn-relu,conv3x3-bn-relu")


def main() -> None:
    """Machine, trust, search, front, picture, next step."""
    arguments = parse_arguments()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with open_device(arguments.device) as device, LatencyStore(arguments.folder / "latency.db") as store:
        print("This machine")
        for line in describe_machine().lines():
            print(f"  {line}")
        print(f"  device {device.uri}: {device.identity.name}")

        latency = DeviceLatencyObjective(device, NETWORK, store=store)
        print("\nCan it be trusted? One network, measured twice (ms):", flush=True)
        question = cell_question(TRUST_CELL, NETWORK)
        trust = check_trust(latency.service, question, lambda line: print(f"  {line}", flush=True))
        print(f"  {trust.verdict() if trust else 'this device cannot run it'}")

        print(
            f"\nSearching {arguments.budget} cells for low latency (this machine) and few errors (8x8 digits)",
            flush=True,
        )
        objective = AccuracyLatencyObjective(StoredAccuracy(QuietDigitsAccuracy(), store), latency)
        settings = SearchSettings("DE", budget=arguments.budget, seed=arguments.seed)
        search = ArchitectureSearch(objective, settings)
        result = run_shown(search)
        print_result(search, result, draw(search, result, arguments.folder / "front.png"))
    print(
        "\nNext: your own file    .venv/bin/leti-opt measure YOUR_MODEL.tflite"
        "\n      your own search  .venv/bin/leti-opt search --network small --budget 60 --accuracy digits"
        "\n      your own phone   .venv/bin/leti-opt devices list, and docs/phones.md: what was measured here says how"
        "\n                       this machine ranks networks, not how a phone does"
    )


def parse_arguments() -> argparse.Namespace:
    """Where to keep results, and how much to search."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="keeps the store and the picture")
    parser.add_argument("--device", default="host-cpu", help="device URI")
    parser.add_argument("--budget", type=int, default=40, help="evaluations")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except LetiError as error:
        sys.exit(f"demo: {error}")
    except typer.Exit as stopped:
        sys.exit(stopped.exit_code)
    except KeyboardInterrupt:
        sys.exit("demo: stopped; everything measured is kept, make demo goes on")
