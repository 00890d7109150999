"""The benchmark of representations tells runs of this code from those of another, on whatever CPU it runs."""

from __future__ import annotations

import platform

import numpy as np
import pytest

from benchmarks.result_table import RESULTS
from benchmarks.search_space_representations import fingerprint, read

PAGE = RESULTS / "search_space_representations.md"


def needs_openblas() -> bool:
    build = np.show_config(mode="dicts")
    return "openblas" in build["Build Dependencies"]["blas"]["name"] and platform.machine() == "x86_64"


@pytest.mark.slow
@pytest.mark.skipif(not needs_openblas(), reason="the runs were made with OpenBLAS on x86-64")
def test_the_table_is_of_code_that_behaves_as_the_present_one_whatever_kernels_openblas_would_choose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Sandybridge")
    fingerprint.cache_clear()
    assert f"fingerprint {fingerprint()}," in PAGE.read_text(), "python -m benchmarks.search_space_representations"
    assert len(read(PAGE.with_suffix(".jsonl"))) > 1000
