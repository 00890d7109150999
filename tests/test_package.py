"""The package as a whole: its names, its layers, its imports."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import leti_opt

ROOT = Path(__file__).parent.parent

PROMISED = {
    "AccuracyLatencyObjective",
    "Architecture",
    "ArchitectureSpace",
    "ArchitectureTable",
    "BetterFlopsPredictor",
    "BlockStudy",
    "BoostedTreesPredictor",
    "CampaignDefinition",
    "DatasetCampaign",
    "DeviceLatencyObjective",
    "DigitsAccuracy",
    "FlopsPredictor",
    "GcnPredictor",
    "KernelPredictor",
    "LatencyLimit",
    "LatencyObjective",
    "LatencyPredictor",
    "LatencyStore",
    "LatencyTable",
    "LimitRow",
    "LutPredictor",
    "LutStudy",
    "MeasurableModel",
    "Measurement",
    "MeasurementProtocol",
    "NAS_BENCH_101",
    "NAS_BENCH_201",
    "NetworkConfig",
    "Operation",
    "SpaceDefinition",
    "SurrogateObjective",
    "TableCost",
    "TransferPredictor",
    "adapt",
    "build_keras_model",
    "build_layer_graph",
    "convert_tflite",
    "decide_limits",
    "enumerate_architectures",
    "estimate_size",
    "fit_actively",
    "gpu_support",
    "gpu_support_mask",
    "load_predictor",
    "measure",
    "network_cost",
    "open_device",
    "read_tflite",
    "select",
    "write_tflite",
}


def test_exported_names_are_the_promised_ones() -> None:
    assert set(leti_opt.__all__) == PROMISED
    for name in PROMISED:
        assert getattr(leti_opt, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="LatencyStorr"):
        leti_opt.LatencyStorr  # noqa: B018


@pytest.mark.parametrize(
    "statement", ["import leti_opt", "import leti_opt.cli.main", "from leti_opt import Architecture"]
)
def test_importing_loads_nothing_heavy(statement: str) -> None:
    heavy = [
        "tensorflow",
        "keras",
        "nevergrad",
        "ai_edge_litert",
        "pandas",
        "matplotlib",
        "sqlalchemy",
        "sklearn",
        "xgboost",
        "distributed",
    ]
    code = f"{statement}; import sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_imports_point_one_way() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert "1 kept, 0 broken" in done.stdout, done.stdout
    assert done.returncode == 0


def test_the_command_is_installed() -> None:
    (command,) = entry_points(group="console_scripts", name="leti-opt")
    assert callable(command.load())
