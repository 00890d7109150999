"""A campaign over all of NAS-Bench-101 on three simulated devices: what everything takes but the devices."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.result_table import Figure, write_result
from benchmarks.speed.timing import ALL_CELLS, load, resident_bytes
from leti_opt.campaign.dataset import DatasetCampaign
from leti_opt.campaign.definition import CampaignDefinition
from leti_opt.report.dataset_card import write_dataset
from leti_opt.version import source_commit

DEVICES = [f"replay:formula?seed={seed}&aggregates=1" for seed in (1, 2, 3)]
BUILT_CELLS = 3000
MIB = 2**20
_LOOK_EVERY_S = 1.0


def main() -> None:
    """Run the campaign, look at it, export it, each in a process of its own; write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=ALL_CELLS)
    parser.add_argument("--built", type=int, default=BUILT_CELLS, help="cells whose networks are also built as files")
    parser.add_argument("--folder", type=Path, help="where the store is made and kept; a campaign there goes on")
    parser.add_argument("--step", choices=list(STEPS), help="do one step, print its figures as JSON, nothing else")
    arguments = parser.parse_args()
    if arguments.step:
        found = STEPS[arguments.step](arguments.folder, arguments.cells, arguments.built)
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory(prefix="leti-opt-rehearsal-") as temporary:
        place = arguments.folder or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        before = load()
        steps = {name: kept(name, place, arguments.cells, arguments.built) for name in STEPS}
        size = (place / "rehearsal.db").stat().st_size
    write(arguments.cells, arguments.built, steps, size, f"{before} before, {load()} after")


def write(cells: int, built: int, steps: dict[str, dict[str, float]], size: int, loads: str) -> None:
    """The table, and the figures if it was the whole space."""
    made = cells * len(DEVICES)
    run, render = steps["run"], steps["run with files"]
    per_s, with_files = run["new"] / run["wall_s"], render["new"] / render["wall_s"]
    rows = [
        ["campaign run", f"{run['wall_s']:,.0f} s", f"{per_s:,.0f} measurements a second", _memory(run)],
        [
            f"campaign run --render, {built:,} cells of the full network",
            f"{render['wall_s']:,.0f} s",
            f"{with_files:,.0f} measurements a second",
            _memory(render),
        ],
        *(
            [name, f"{steps[name]['wall_s']:.2f} s", f"{steps[name]['core_s']:.2f} s of the core", _memory(steps[name])]
            for name in ("status", "plan", "export")
        ),
    ]
    write_result(
        "rehearsal",
        f"A campaign of {cells:,} cells on {len(DEVICES)} devices ({made:,} measurements)",
        ["what", "time", "", "resident memory of all its processes"],
        rows,
        [
            "The devices are formulas that print aggregates, as phones do: every latency is simulated, nothing was "
            "measured. What is timed is the way around the devices: choosing cells, laying networks out, the protocol, "
            "the store, in as many processes as there are cores.",
            "With --render the file header of every network is made as well, of NAS-Bench-101's own network; the "
            "other rows are of the small preset.",
            f"The store is {size / MIB:,.0f} MiB large, {size / made:,.0f} bytes a measurement. {run['growth']}",
            "Status and plan are whole commands in a fresh process without the start of Python; export writes the "
            "data set's Parquet file and card.",
            f"The runs were made at commit {run['commit']}.",
            f"Load average {loads}.",
        ],
        figures(steps, per_s, with_files, made) if cells == ALL_CELLS else [],
    )


def figures(steps: dict[str, dict[str, float]], per_s: float, with_files: float, made: int) -> list[Figure]:
    """Beside what they should be."""
    of = f"campaign of {made:,} measurements"
    return [
        Figure("replayed campaign, whole path without building", per_s, "measurements/s", 500, 2000),
        Figure("replayed campaign, whole path with building", with_files, "measurements/s", 20, 60),
        Figure(f"{of}, status", steps["status"]["wall_s"], "s", 2, 0.5, True),
        Figure(f"{of}, export of the data set", steps["export"]["wall_s"], "s", 60, 20, True),
    ]


def campaign(folder: Path, cells: int, name: str = "rehearsal", network: str = "small") -> DatasetCampaign:
    """The campaign; one that was begun in this folder goes on."""
    chosen: dict[str, Any] = {} if cells >= ALL_CELLS else {"sample": cells}
    return DatasetCampaign(
        CampaignDefinition(
            name=name, store=str(folder / f"{name}.db"), devices=DEVICES, networks=[network], cells=chosen
        )
    )


def run(folder: Path, cells: int, _built: int) -> dict[str, Any]:
    """All cells, without files."""
    return watched(lambda: campaign(folder, cells).run().outcome.rows)


def run_with_files(folder: Path, _cells: int, built: int) -> dict[str, Any]:
    """Some cells of the full network, with their files."""
    made = campaign(folder, built, "rendered", "nasbench101")
    return watched(lambda: made.run(render=True).outcome.rows)


def status(folder: Path, cells: int, _built: int) -> dict[str, Any]:
    """How far each device is."""
    return watched(lambda: campaign(folder, cells).status().rows)


def plan(folder: Path, cells: int, _built: int) -> dict[str, Any]:
    """What is lacking."""
    return watched(lambda: campaign(folder, cells).plan().rows)


def export(folder: Path, cells: int, _built: int) -> dict[str, Any]:
    """The data set."""
    return watched(lambda: write_dataset(campaign(folder, cells), folder / "dataset").counts)


STEPS: dict[str, Callable[[Path, int, int], dict[str, Any]]] = {
    "run": run,
    "run with files": run_with_files,
    "status": status,
    "plan": plan,
    "export": export,
}


def watched(work: Callable[[], Any]) -> dict[str, Any]:
    """Do some work; its time, and the memory of this process and its children meanwhile."""
    resident: list[int] = []
    over = threading.Event()
    looking = threading.Thread(target=_look, args=(resident, over), daemon=True)
    looking.start()
    core, wall = time.process_time(), time.perf_counter()
    rows = work()
    wall_s, core_s = time.perf_counter() - wall, time.process_time() - core
    over.set()
    looking.join()
    return {
        "wall_s": wall_s,
        "core_s": core_s,
        "new": sum(getattr(row, "new", 0) for row in rows),
        "lacking": sum(getattr(row, "lacking", 0) for row in rows),
        "peak_mib": max(resident, default=0) / MIB,
        "growth": _growth(resident),
    }


def _look(resident: list[int], over: threading.Event) -> None:
    own = psutil.Process()
    while True:
        resident.append(resident_bytes(own))
        if over.wait(_LOOK_EVERY_S):
            return


def _growth(resident: list[int]) -> str:
    """How memory changed from the first third to the last."""
    third = len(resident) // 3
    if third < 5:
        return ""
    first, last = sorted(resident[5 : third + 5]), sorted(resident[-third:])
    early, late = first[len(first) // 2] / MIB, last[len(last) // 2] / MIB
    return (
        f"Resident memory while it ran: median {early:,.0f} MiB in the first third, {late:,.0f} MiB in the last "
        f"({100 * (late / early - 1):+.1f} %)."
    )


def _memory(step: dict[str, Any]) -> str:
    return f"peak {step['peak_mib']:,.0f} MiB"


def kept(name: str, place: Path, cells: int, built: int) -> dict[str, Any]:
    """A step's figures; of a campaign that is complete already those of the run that made it, which are kept."""
    file = place / f"{name}.json"
    found = in_a_process(name, place, cells, built)
    if name.startswith("run") and not found["new"] and file.exists():
        earlier: dict[str, Any] = json.loads(file.read_text())
        return earlier
    found["commit"] = source_commit()
    file.write_text(json.dumps(found))
    return found


def in_a_process(name: str, place: Path, cells: int, built: int) -> dict[str, Any]:
    """A step in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.campaigns.rehearsal", "--step", name, "--folder", str(place)]
    command += ["--cells", str(cells), "--built", str(built)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    found: dict[str, Any] = json.loads(done.stdout)
    print(name, found, flush=True)
    return found


if __name__ == "__main__":
    main()
