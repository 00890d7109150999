"""A loopback phone to try things out with: ``python -m tests.loopback_phone``.

It is a program on this computer that speaks adb's protocol, and no phone: what is measured on it is this computer, and
its identity says so.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from tests.loopback_phone.fake_binary import fake_binary
from tests.loopback_phone.faults import NAMES
from tests.loopback_phone.phone import LoopbackPhone
from tests.loopback_phone.settings import PhoneSettings

_DESCRIPTION = (
    "A loopback phone to try things out with: a program on this computer that speaks adb's protocol, and no phone. "
    "What is measured on it is this computer, and its identity says so."
)
_FAULTS = tuple(name for name in NAMES if name != "swapped")
"""What can be asked for by hand."""


def main() -> None:
    """Start phones and play them until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tests.loopback_phone", description=_DESCRIPTION)
    parser.add_argument("--phones", type=int, default=1, help="how many (default: 1)")
    parser.add_argument("--port", type=int, default=0, help="port of the first; the others follow (default: any)")
    parser.add_argument("--model", default="Model A", help="what they call themselves")
    parser.add_argument("--abi", default="arm64-v8a", help="their instruction set")
    parser.add_argument("--fixed-run-ms", type=float, help="sleep so long for each run in place of running the network")
    parser.add_argument("--gpu-refuses", default="", metavar="OPERATORS", help="what GPU and NPU refuse: ADD,MEAN")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="NAME[:TIMES]", help=f"let it happen: {', '.join(_FAULTS)}"
    )
    parser.add_argument("--dies-every", type=float, metavar="SECONDS", help="be gone for a second, again and again")
    parser.add_argument("--binary", type=Path, help="write a stand-in for benchmark_model there, for ?binary=PATH")
    arguments = parser.parse_args()
    if arguments.binary is not None:
        arguments.binary.write_bytes(fake_binary(arguments.abi))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the phones' folders go
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loopback-phone-")))
        for number in range(arguments.phones):
            _start(stack, folder / str(number), number, arguments)
        print("Ctrl-C ends it.", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("", file=sys.stderr)


def _start(stack: ExitStack, folder: Path, number: int, arguments: argparse.Namespace) -> None:
    settings = PhoneSettings(
        serial=f"LOOP{number:04}",
        model=arguments.model,
        abi=arguments.abi,
        fixed_run_ms=arguments.fixed_run_ms,
        gpu_refuses=tuple(filter(None, arguments.gpu_refuses.split(","))),
    )
    port = arguments.port + number if arguments.port else 0
    phone = stack.enter_context(LoopbackPhone(folder, settings, port, away_s=1.0))
    for fault in arguments.fault:
        name, _, times = fault.partition(":")
        if name == "offline":
            phone.go_silent()
        elif name not in _FAULTS:
            sys.exit(f"--fault {fault}: known are {', '.join(_FAULTS)}")
        else:
            phone.faults.switch_on(name, int(times or 1))
    if arguments.dies_every:
        threading.Thread(target=_die_again_and_again, args=(phone, arguments.dies_every, number), daemon=True).start()
    print(
        f"loopback phone {settings.serial}:\n  adb connect {phone.address}\n  leti-opt: android:{phone.address}/cpu",
        flush=True,
    )


def _die_again_and_again(phone: LoopbackPhone, every_s: float, number: int) -> None:
    time.sleep(every_s * number / (number + 1))  # several phones do not die together
    while True:
        time.sleep(every_s)
        phone.vanish(1.0)


if __name__ == "__main__":
    main()
