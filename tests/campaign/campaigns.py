"""Campaigns that are quick and hold on a busy machine: few runs, any spread, no canary."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from leti_opt.campaign.dataset import DatasetCampaign
from leti_opt.campaign.definition import CampaignDefinition

QUICK: dict[str, Any] = {
    "networks": [{"preset": "small", "filters": 8}],
    "protocol": {"min_runs": 5, "warmup_runs": 1, "max_relative_std": 50.0, "max_attempts": 1},
    "canary": {"pace": "off"},
    "execution": {"backend": "threading", "builders": 1},
}


def quick_definition(folder: Path, **settings: Any) -> CampaignDefinition:
    settings = {"name": "quick", "store": str(folder / "latency.db"), "cells": {"sample": 20}, **QUICK, **settings}
    return CampaignDefinition(**settings)


def quick_campaign(folder: Path, **settings: Any) -> DatasetCampaign:
    return DatasetCampaign(quick_definition(folder, **settings))


def write_toml(folder: Path, sample: int = 20, devices: str = '["host-cpu?cores=0"]', more: str = "") -> Path:
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
min_runs = 5
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
