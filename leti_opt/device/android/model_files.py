"""Networks on a phone: whole files, or headers over a block of random weights that stays there."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from leti_opt.device.android.layouts import Layout
from leti_opt.device.android.phone import REMOTE
from leti_opt.device.android.start_script import END_PROGRAMS
from leti_opt.device.model import MeasurableModel
from leti_opt.errors import NotFoundError, PhoneError
from leti_opt.network.weights_block import HEADER_BYTES, WeightsBlock, open_block
from leti_opt.network.weights_outside import PlacedNetwork, write_header

if TYPE_CHECKING:
    from leti_opt.device.android.phone import Phone

_MODEL = f"{REMOTE}/model.tflite"
_HEADER = f"{REMOTE}/header"
_RESIDENT = f"{REMOTE}/resident-"
_KEPT = "benchmark_model|resident-*.tflite|lock*"
"""Names in the folder that outlive a session, as a pattern of the shell; the lock has its own rules."""

_CLEANING = "removing what an earlier session left"
_PUSHING = "pushing the network"
_PUSHING_WEIGHTS = "pushing the block of weights"
_REMOVING = "removing the network"

_ATTEMPTS = 3
_SLOWEST_READ = 20 << 20
"""Bytes a second that any phone can read and digest."""
_COMMAND_S = 20.0

_REMOVE_LEFT = (
    f"mkdir -p {REMOTE} || exit 1; for f in {REMOTE}/* {REMOTE}/.[!.]*; do "
    f'[ -e "$f" ] || continue; case "${{f##*/}}" in {_KEPT}) continue;; esac; '
    'rm -rf "$f" || exit 1; echo "removed ${f##*/}"; done'
)


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """A network that lies on the phone.

    Args:
        path: on the phone.
        header_bytes: how much of the file is the network's own, the rest being the resident block; 0 for a whole file.
        sha256: of these bytes, or of the whole file; hexadecimal.
        size_bytes: of the whole file.
        laying: a script that puts the header onto the block, right before a start; empty where nothing is to be laid.
    """

    path: str
    header_bytes: int
    sha256: str
    size_bytes: int
    laying: str = ""


class ModelFiles:
    """The networks on one phone, one at a time.

    Whoever uses it holds the phone (:meth:`Phone.held`): everything in its folder belongs to the holder, and a
    benchmark_model that runs is a leftover.

    A block of weights is pushed once and stays. Its name says which block it is, so that two hosts whose blocks differ
    do not push theirs in turns. A larger one takes the place of the smaller ones of its precision, as it does on the
    host.

    Args:
        phone: where to.
    """

    def __init__(self, phone: Phone) -> None:
        self._phone = phone
        self._body_digests: dict[Path, str] = {}
        self._checked_blocks: set[tuple[str, str]] = set()

    def clean(self) -> list[str]:
        """End what still runs and remove what a crashed session left; the program and blocks of weights stay.

        Returns:
            What was found, for people; empty where all was well.

        Raises:
            PhoneError: the phone cannot be reached, or its folder not written.
        """
        self.doubt()
        ended = self._phone.shell(END_PROGRAMS, _CLEANING).stdout.splitlines()
        self.tell_ended(ended)
        return ended + self._phone.shell(_REMOVE_LEFT, _CLEANING).stdout.splitlines()

    def place(self, model: MeasurableModel, layout: Layout) -> PlacedFile:
        """Put a network on the phone; the one that was there goes.

        A network that cannot be laid out as a header over a block (a user's file, another precision) is pushed whole.
        That it arrived, and is still there, is looked at by the command of each start
        (:func:`~leti_opt.device.android.start_script.start_script`), which lays the header onto the block as well.

        Args:
            model: the network.
            layout: ``resident`` or ``file``.

        Raises:
            PhoneError: the phone cannot be reached, or has no room.
            StoreError: this host cannot keep the block of weights.
            InvalidModelError: there is no file.
        """
        if layout == "resident" and model.placed is not None:
            return self._place_header(model.placed, model.key)
        content = model.tflite
        self._phone.push(content, _MODEL, _PUSHING, read_back=False)
        return PlacedFile(_MODEL, 0, hashlib.sha256(content).hexdigest(), len(content))

    def doubt(self) -> None:
        """Look at the blocks of weights again before they are used: something on the phone is not as it was left."""
        self._checked_blocks.clear()

    @staticmethod
    def what_goes(placed: PlacedFile) -> str:
        """Paths to remove when a network is done with. A block of weights stays, with the header that it has."""
        return _HEADER if placed.header_bytes else placed.path

    @staticmethod
    def reading_s(placed: PlacedFile) -> float:
        """Seconds in which any phone reads and digests what a start looks at."""
        return (placed.header_bytes or placed.size_bytes) / _SLOWEST_READ

    def tell_ended(self, lines: Sequence[str]) -> None:
        """Tell of programs that were still running."""
        if lines:
            self._phone.notify(f"{self._phone.address}: a benchmark_model was still running there: {', '.join(lines)}")

    def remove_blocks(self) -> None:
        """Take the blocks of weights off the phone."""
        self.doubt()
        self._phone.shell(f"rm -f {_RESIDENT}*", _REMOVING)

    def remove_all(self) -> None:
        """Take everything off the phone, the program and the blocks included; the lock goes when it is let go of."""
        self.clean()
        self.remove_blocks()
        self._phone.shell(f"rm -f {REMOTE}/benchmark_model", _REMOVING)

    def _place_header(self, network: PlacedNetwork, key: str) -> PlacedFile:
        for _ in range(_ATTEMPTS):
            block = open_block(network.needs)
            try:
                remote = self._resident(block)
            except NotFoundError:
                continue
            header = write_header(network, block, key)
            self._phone.push(header, _HEADER, _PUSHING, read_back=False)
            digest = hashlib.sha256(header).hexdigest()
            return PlacedFile(remote, len(header), digest, block.size, _laying(remote, block.size))
        raise PhoneError(
            self._phone.address,
            _PUSHING,
            f"the block of weights was replaced {_ATTEMPTS} times on this host while a header was put on it",
            "let nothing else write to it, or use ?layout=file",
        )

    def _resident(self, block: WeightsBlock) -> str:
        """Path of the block on the phone; it is pushed where it is not there whole.

        Raises:
            NotFoundError: a larger block took its place on this host.
        """
        remote = f"{REMOTE}/resident-{block.path.stem}.tflite"
        checked = (remote, self._phone.boot_id)
        if checked not in self._checked_blocks:
            if not self._is_whole(block, remote):
                self._push_block(block, remote)
            self._checked_blocks.add(checked)
        return remote

    def _is_whole(self, block: WeightsBlock, remote: str) -> bool:
        """Whether what lies under the block's name has its numbers behind whatever header it has."""
        found = self._phone.shell(
            f'[ "$(stat -c %s {remote} 2>/dev/null)" = {block.size} ] '
            f"&& dd if={remote} bs={HEADER_BYTES} skip={block.header_bytes // HEADER_BYTES} 2>/dev/null | sha256sum",
            _PUSHING_WEIGHTS,
            _COMMAND_S + block.size / _SLOWEST_READ,
            check=False,
        )
        return found.exit_code == 0 and found.stdout.split(" ")[0] == self._body_digest(block)

    def _push_block(self, block: WeightsBlock, remote: str) -> None:
        smaller = [path for path, size in self._blocks(block.precision) if size <= block.size or path == remote]
        if smaller:
            self._phone.shell(f"rm -f {' '.join(smaller)}", _PUSHING_WEIGHTS)
        self._phone.notify(f"{self._phone.address}: {_PUSHING_WEIGHTS} ({block.size / 1e6:.1f} MB, which stay there)")
        try:
            self._phone.push(block.path, f"{remote}.part", _PUSHING_WEIGHTS)
        except OSError as error:
            if block.path.exists():
                raise
            raise _replaced(block) from error
        self._phone.shell(f"mv -f {remote}.part {remote}", _PUSHING_WEIGHTS)

    def _blocks(self, precision: str) -> list[tuple[str, int]]:
        """Paths and sizes of the blocks of a precision that are on the phone."""
        listed = self._phone.shell(
            f"stat -c '%s %n' {_RESIDENT}{precision}-*.tflite 2>/dev/null; true", _PUSHING_WEIGHTS
        ).stdout
        return [(match[2], int(match[1])) for match in re.finditer(r"^(\d+) (\S+)$", listed, re.MULTILINE)]

    def _body_digest(self, block: WeightsBlock) -> str:
        if block.path not in self._body_digests:
            try:
                with block.path.open("rb") as file:
                    file.seek(block.header_bytes)
                    self._body_digests[block.path] = hashlib.file_digest(file, "sha256").hexdigest()
            except FileNotFoundError:
                raise _replaced(block) from None
        return self._body_digests[block.path]


def _laying(remote: str, size: int) -> str:
    """Rewrites the header in place where one was pushed, and the block is there whole."""
    # dd would make a file that is missing. Nothing runs at this moment, so nothing has it mapped.
    return (
        f'[ -f {_HEADER} ] && [ "$(stat -c %s {remote} 2>/dev/null)" = {size} ] '
        f"&& dd if={_HEADER} of={remote} bs={HEADER_BYTES} conv=notrunc 2>/dev/null && rm -f {_HEADER}"
    )


def _replaced(block: WeightsBlock) -> NotFoundError:
    return NotFoundError(f"{block.path} was replaced by a larger block; open_block gives that one")
