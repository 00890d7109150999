"""Names that tell units apart without telling which they are."""

from __future__ import annotations

import hashlib


def pseudonym(name: str) -> str:
    """The same 16 hexadecimal digits for the same serial or host, on every machine.

    >>> pseudonym("R58M123") == pseudonym("R58M123") != pseudonym("R58M124")
    True
    """
    return hashlib.sha256(f"leti_opt {name}".encode()).hexdigest()[:16]
