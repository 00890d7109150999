"""Writes ``versions/<schema version>.db``: a small store of the version that this checkout makes.

Run it once for each new schema version, before the next one is begun, and keep the file::

    python -m tests.store.make_version_file

``test_upgrade.py`` opens every stored file and finds in it what :func:`fill` put there.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from leti_opt.device.run_batch import RunBatch
from leti_opt.store import EpochLink, EvaluationRecord, LatencyStore, ScoreRecord
from leti_opt.store.schema import HEAD
from tests.store.samples import (
    DEVICE,
    EPOCH,
    LATER_EPOCH,
    NOON,
    alias,
    device,
    measurement,
    model,
    model_with_layers,
)

VERSIONS = Path(__file__).parent / "versions"
SETTINGS = {"seed": 1, "optimizer": "DiscreteOnePlusOne", "budget": 60}
MEASUREMENTS = (
    measurement(0),
    measurement(0, minutes=5, epoch=LATER_EPOCH),
    measurement(1, stable=False),
    measurement(2, identity=device("simulated")),
)
WITHDRAWN = replace(measurement(5, minutes=90), relative_error=0.01, source="other.parquet")
CANARY = measurement(6, minutes=91)
UNCHECKED = replace(
    measurement(7, identity=device("replayed"), stable=False), attempts=(RunBatch(None, 12.5, runs_per_sample=4),)
)
NETWORK = {"filters": 16}
LINK = EpochLink(EPOCH, LATER_EPOCH, True, 1.01, 0.995, 20, NOON)
SCORE = ScoreRecord("0-1:", "hash", "digest", "digits", 0.9, 3.5, NOON, {"epochs": 2})
EVALUATIONS = tuple(EvaluationRecord(n, f"cell {n}", (1.5 + n, 0.1), "measured", NOON) for n in range(3))


def fill(store: LatencyStore) -> None:
    """Put something into every table."""
    store.add(model_with_layers(0), MEASUREMENTS[0], alias=alias(0), flops=1234, parameters=56)
    for one in MEASUREMENTS[1:]:
        store.add(model(int(one.model_key.removeprefix("key-"))), one)
    store.add_failure("refused", stage="load", model=model(3), device=DEVICE, epoch=EPOCH, failed_at=NOON)
    store.add_failure("no such layer", stage="build", alias=alias(4), failed_at=NOON)
    store.add_link(DEVICE, LINK)
    store.remember_uri("host-cpu", DEVICE, LATER_EPOCH, seen_at=NOON)
    store.add_score(SCORE)
    search = store.open_search(SETTINGS)
    for evaluation in EVALUATIONS:
        store.add_evaluation(search, evaluation)
    fill_second_version(store)
    fill_third_version(store)


def fill_second_version(store: LatencyStore) -> None:
    """What version 0002 brought."""
    store.add(model(5), WITHDRAWN)
    store.suspect(DEVICE, EPOCH, since=NOON + timedelta(hours=1), reason="canary 1.4 times slower")
    store.add(model(6), CANARY, role="canary")
    store.add(model(7), UNCHECKED)
    store.add_network("net", NETWORK)
    store.set_panel(DEVICE, "net", ["key-0", "key-1"])


def fill_third_version(store: LatencyStore) -> None:
    """What version 0003 brought."""
    store.claim(["key-0", "key-1"], "a host", 60.0)
    campaign = store.open_campaign("dataset", SETTINGS)
    store.add_event(campaign, "started", "1 device", "host-cpu")
    store.add_event(campaign, "ended", "7 networks")


def main() -> None:
    """Write the file; an existing one stays as it is."""
    path = VERSIONS / f"{HEAD}.db"
    if path.exists():
        raise SystemExit(f"{path} exists; a stored version is never written anew")
    VERSIONS.mkdir(exist_ok=True)
    with LatencyStore(path) as store:
        fill(store)
    print(path)


if __name__ == "__main__":
    main()
