"""Times and sizes for people."""

from __future__ import annotations


def duration_text(seconds: float) -> str:
    """A time for people: in seconds, in minutes, or in the two largest units.

    >>> duration_text(42), duration_text(600), duration_text(7_500), duration_text(100_000)
    ('42 s', '10 min', '2 h 5 min', '1 d 4 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h"


def size_text(size_bytes: float) -> str:
    """Bytes for people.

    >>> size_text(512), size_text(3_000_000)
    ('512 bytes', '3.0 MB')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes:.0f} bytes"
