"""The programs of the loopback phone's small userland: shell scripts that stand in for Android's."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

_START = Path(__file__).with_name("start_program.py")

_GETPROP = """
if [ $# -gt 0 ]; then
  while IFS='=' read -r name value; do
    [ "$name" = "$1" ] && echo "$value" && exit 0
  done < "$LOOPBACK_ROOT/state/properties"
  echo; exit 0
fi
while IFS='=' read -r name value; do echo "[$name]: [$value]"; done < "$LOOPBACK_ROOT/state/properties"
"""

_DUMPSYS = """
[ -f "$LOOPBACK_ROOT/state/dumpsys_$1" ] && exec cat "$LOOPBACK_ROOT/state/dumpsys_$1"
echo "Can't find service: $1"; exit 20
"""

_TASKSET = """
case "$1" in *[!0-9a-fA-Fx]*|'') echo "taskset: bad mask '$1'" >&2; exit 1;; esac
LOOPBACK_MASK=$1; export LOOPBACK_MASK; shift; exec "$@"
"""

_DF = """
if [ -f "$LOOPBACK_ROOT/state/full" ]; then free=0; else free=52428800; fi
echo "Filesystem     1K-blocks    Used Available Use% Mounted on"
echo "/dev/block/dm-5 110000000 5000000  $free  5% /data"
"""

_PIDOF = """
found=
for file in "$LOOPBACK_ROOT/running/$1".*; do
  [ -e "$file" ] && pid=${file##*.} && kill -0 "$pid" 2>/dev/null && found="$found $pid"
done
[ -n "$found" ] && echo $found
"""

_UNAME = """
case "$1" in -r) echo 5.10.157-loopback;; *) echo Linux;; esac
"""

_READ_ONLY = """
if [ -f "$LOOPBACK_ROOT/state/read_only" ]; then
  for word in "$@"; do case "$word" in *"$LOOPBACK_ROOT"/data/*) at=$word;; esac; done
  echo "{name}: '${{at:-$1}}': Read-only file system" >&2; exit 1
fi
exec {real} "$@"
"""

_WRITERS = ("mkdir", "mv", "rm", "dd", "chmod", "cp", "touch")

_TIMEOUT = f'exec {shlex.quote(sys.executable)} -I -S {shlex.quote(str(_START))} "$@"\n'


def write_shims(folder: Path) -> None:
    """Write every program into a folder that a shell's ``PATH`` begins with."""
    folder.mkdir(parents=True, exist_ok=True)
    scripts = {
        "getprop": _GETPROP,
        "dumpsys": _DUMPSYS,
        "taskset": _TASKSET,
        "df": _DF,
        "pidof": _PIDOF,
        "uname": _UNAME,
        "timeout": _TIMEOUT,
    }
    for name in _WRITERS:
        real = next(path for path in (Path("/bin") / name, Path("/usr/bin") / name) if path.exists())
        scripts[name] = _READ_ONLY.format(name=name, real=real)
    for name, body in scripts.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{body.lstrip()}")
        path.chmod(0o755)
