"""Campaigns that are quick and hold on a busy machine: few runs, any spread, no canary."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from leti_opt.campaign import dataset
from leti_opt.campaign.dataset import DatasetCampaign
from leti_opt.campaign.definition import CampaignDefinition
from leti_opt.device.device import Device
from leti_opt.device.model import MeasurableModel
from leti_opt.store.latency_store import LatencyStore
from tests.contracts.scripted_device import Answer, ScriptedDevice, steady

COUNT = 20
"""Networks of a quick campaign."""
QUICK: dict[str, Any] = {
    "networks": [{"preset": "small", "filters": 8}],
    "protocol": {"min_runs": 5, "warmup_runs": 1, "max_relative_std": 50.0, "max_attempts": 1},
    "canary": {"pace": "off"},
    "execution": {"backend": "threading", "builders": 1},
}


def quick_definition(folder: Path, **settings: Any) -> CampaignDefinition:
    settings = {"name": "quick", "store": str(folder / "latency.db"), "cells": {"sample": COUNT}, **QUICK, **settings}
    return CampaignDefinition(**settings)


def quick_campaign(folder: Path, **settings: Any) -> DatasetCampaign:
    return DatasetCampaign(quick_definition(folder, **settings))


def write_toml(
    folder: Path, sample: int = COUNT, devices: str = '["host-cpu?cores=0"]', more: str = "", runs: int = 5
) -> Path:
    """The same as a file."""
    path = folder / "campaign.toml"
    path.write_text(
        f"""
name = "quick"
networks = [{{ preset = "small", filters = 8 }}]
devices = {devices}
{more}
[cells]
sample = {sample}
[protocol]
min_runs = {runs}
warmup_runs = 1
max_relative_std = 50.0
max_attempts = 1
[canary]
pace = "off"
[execution]
builders = 1
"""
    )
    return path


def start(path: Path, *arguments: str) -> subprocess.Popen[str]:
    """``leti-opt campaign run`` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "leti_opt.cli.main", "campaign", "run", str(path), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def measurements(url: str) -> Counter[tuple[int, int]]:
    """How many measurements the store's own table has of each network that is a result, on each unit."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    query = (
        "SELECT m.model_id, m.epoch_id, count(*) FROM measurements m JOIN models o ON o.id = m.model_id "
        "WHERE o.role IS NULL GROUP BY 1, 2"
    )
    with engine.connect() as connection:
        found = Counter({(row[0], row[1]): row[2] for row in connection.execute(text(query))})
    engine.dispose()
    return found


def measurements_of_each_model(store: Path) -> list[int]:
    """How many the file has of each network, whatever the unit."""
    found: Counter[int] = Counter()
    for (model, _), count in measurements(f"sqlite:///{store}").items():
        found[model] += count
    return list(found.values())


def event_kinds(store: Path) -> list[str]:
    with LatencyStore(store) as opened:
        [campaign] = opened.campaign_records()
        return [event.kind for event in opened.events(campaign.id)]


def use_devices(monkeypatch: pytest.MonkeyPatch, *devices: Device) -> None:
    monkeypatch.setattr(dataset, "open_devices", lambda _uris: list(devices))


def scripted(name: str = "one", failing: Sequence[Exception | None] = (), answers: object = None) -> ScriptedDevice:
    def script(_model: MeasurableModel) -> list[Answer]:
        return [steady(2.0, 5)] * 3

    return ScriptedDevice(answers or script, name=name, default_min_runs=5, load_script=failing)  # type: ignore[arg-type]


def slow_device(monkeypatch: pytest.MonkeyPatch) -> ScriptedDevice:
    device = scripted()
    load = device.load

    def slowly(model: MeasurableModel) -> object:
        time.sleep(0.2)
        return load(model)

    monkeypatch.setattr(device, "load", slowly)
    use_devices(monkeypatch, device)
    return device
