"""The parts of pages in ``docs`` that commands write."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def put_into_page(page: Path, part: str, lines: Sequence[str], writer: str) -> None:
    """Replace what stands between two marks of a page.

    Args:
        page: in :data:`DOCS`.
        part: name of the marks.
        lines: what stands there then.
        writer: the module that writes it.
    """
    begin, end = f"<!-- {part}: written by {writer} -->", f"<!-- end of {part} -->"
    head, found, rest = page.read_text().partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        sys.exit(f"{page} has no part {part!r} between {begin} and {end}; put the two marks there")
    page.write_text("\n".join([head + begin, *lines, end + tail]))
