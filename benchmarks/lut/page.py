"""The parts of ``docs/lut.md`` that commands write."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "lut.md"


def put_into_page(part: str, lines: Sequence[str], writer: str) -> None:
    """Replace what stands between two marks of the page.

    Args:
        part: name of the marks.
        lines: what stands there then.
        writer: the module that writes it.
    """
    begin, end = f"<!-- {part}: written by {writer} -->", f"<!-- end of {part} -->"
    head, found, rest = PAGE.read_text().partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        sys.exit(f"{PAGE} has no part {part!r} between {begin} and {end}; put the two marks there")
    PAGE.write_text("\n".join([head + begin, *lines, end + tail]))
