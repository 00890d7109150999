"""``timeout`` of the loopback phone: hands a start of benchmark_model to the warm process, and runs anything else.

An Android program cannot be executed here, so that a start of the pushed benchmark_model is recognized by its name and
run by ours. It runs without the package, to start quickly.
"""

import array
import json
import os
import signal
import socket
import subprocess
import sys
import time


def main() -> int:
    """Read ``timeout [-s SIGNAL] SECONDS [taskset MASK] PROGRAM ARGUMENTS`` and run it."""
    words = sys.argv[1:]
    signal_name = "TERM"
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option in ("-s", "-k"):
            value = words.pop(0)
            signal_name = value if option == "-s" else signal_name
    seconds = float(words.pop(0).rstrip("s"))
    mask = os.environ.get("LOOPBACK_MASK", "")
    if words and words[0] == "taskset":
        mask, words = words[1], words[2:]
    if os.path.basename(words[0]) != "benchmark_model":
        return ended_by_deadline(subprocess.Popen(words), seconds, signal_name)
    if not os.path.exists(words[0]):
        print(f"{words[0]}: No such file or directory", file=sys.stderr)
        return 127
    if not os.access(words[0], os.X_OK):
        print(f"{words[0]}: Permission denied", file=sys.stderr)
        return 126
    return hand_over(words, mask, seconds)


def ended_by_deadline(process: "subprocess.Popen[bytes]", seconds: float, signal_name: str) -> int:
    """Exit status of an ordinary program."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(getattr(signal, f"SIG{signal_name}"))
        process.wait()
        return 137 if signal_name == "KILL" else 124


def hand_over(words: list[str], mask: str, seconds: float) -> int:
    """Let the warm process run it on our own output, and wait for its end."""
    deadline = time.monotonic() + seconds
    root = os.environ["LOOPBACK_ROOT"]
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(os.path.join(root, "zygote"))
        request = {"words": words, "mask": mask, "root": root, "fault": os.environ.get("LOOPBACK_FAULT", "")}
        outputs = array.array("i", [1, 2])
        server.sendmsg([json.dumps(request).encode() + b"\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, outputs)])
        replies = server.makefile("r")
        pid = int(replies.readline())
        server.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            status = replies.readline()
        except (TimeoutError, OSError):
            os.kill(pid, signal.SIGKILL)
            server.settimeout(5)
            return 137
    if not status:  # the phone restarted
        return 255
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
