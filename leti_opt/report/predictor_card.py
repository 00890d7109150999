"""A predictor's model card: what it learned, how good that is, what it is not for (Mitchell et al., 2019)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from leti_opt.report.predictor_judgement import Judgement
from leti_opt.report.predictor_table import interval_lines, judgement_lines, origin_lines, statement_of

if TYPE_CHECKING:
    from leti_opt.predictor.predictor import LatencyPredictor

_LIMITS = (
    "One device with its runtime and threads, one network around the cells, cells of one space. Nothing warns of a "
    "device that was updated since.",
    "Cells that are unlike what was learned (larger, rarer, of another part of the space) may be farther off than the "
    "intervals say.",
    "The fastest predicted of many cells is more likely predicted too low than that fast: measure before you believe.",
    "A prediction is predicted, never measured; pass it on as such.",
)


def model_card(predictor: LatencyPredictor, file: str, judged: Judgement | None = None) -> str:
    """A model card in Markdown, with the front matter that Hugging Face reads.

    Args:
        predictor: fitted.
        file: what its file is called.
        judged: how good it is on cells that it did not learn; None where nobody looked, and the card says so.

    >>> from leti_opt import NAS_BENCH_101, NetworkConfig, enumerate_architectures, network_cost
    >>> from leti_opt.predictor.flops import FlopsPredictor
    >>> network, cells = NetworkConfig.small(), enumerate_architectures(NAS_BENCH_101)[:20]
    >>> predictor = FlopsPredictor(network).fit(cells, 1 + network_cost(cells, network).flops / 1e7)
    >>> [line for line in model_card(predictor, "host.predictor").splitlines() if line.startswith("#")][:3]
    ['# host.predictor', '## What it learned', '## How good it is']
    """
    sections = [
        _FRONT,
        f"# {file}\n\nPredicts the latency in milliseconds of one run of a cell's network, with intervals: "
        f"`{type(predictor).__name__}` of leti_opt.",
        "## What it learned\n\n" + _bullets(_learned(predictor)),
        "## How good it is\n\n" + _goodness(predictor, judged),
        "## What it is not for\n\n" + _bullets(_LIMITS),
        f"## Use\n\n    leti-opt predictor predict {file} 0-1,1-2:conv3x3-bn-relu",
    ]
    return "\n\n".join(sections) + "\n"


def _learned(predictor: LatencyPredictor) -> list[str]:
    story = predictor.story_
    told = statement_of(story)
    settings = {name: getattr(predictor, name) for name in predictor.settings}
    network = json.dumps(predictor.network.settings, sort_keys=True)
    return [
        f"{told[:1].upper()}{told[1:]}.",
        *([] if story is None else [f"From `{each.source}`: {each.device}." for each in (story, *story.others)]),
        *(f"**{line}**" for line in origin_lines(story)),
        f"{predictor.training_size_:,} networks; digest of features and latencies `{predictor.training_digest_}`.",
        f"Settings: `{json.dumps(settings, sort_keys=True)}`; {len(predictor.feature_names_):,} features.",
        f"Network `{predictor.network.digest[:16]}`: `{network}`",
    ]


def _goodness(predictor: LatencyPredictor, judged: Judgement | None) -> str:
    warnings = [f"**{line}**" for line in interval_lines(predictor)]
    if judged is None:
        return "\n\n".join(["Nobody looked: `leti-opt predictor card` takes figures to judge it by.", *warnings])
    kept = [] if judged.splits is None else ["This kind with these settings, fitted anew in each split:"]
    return "\n\n".join([*kept, "```\n" + "\n".join(judgement_lines(judged)) + "\n```", *warnings])


def _bullets(lines: list[str] | tuple[str, ...]) -> str:
    return "\n".join(f"* {line}" for line in lines)


_FRONT = """---
library_name: leti_opt
tags:
- latency
- neural-architecture-search
- tabular-regression
---"""
