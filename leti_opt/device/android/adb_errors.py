"""What the adb server and phones refuse, as our errors, each with what to do about it."""

from __future__ import annotations

from leti_opt.errors import PhoneError, PhoneGoneError

ADVICE = {
    "unauthorized": (
        "unlock the phone and accept this computer ('Allow USB debugging'); if no question appears, switch USB "
        "debugging off and on again"
    ),
    "permissions": (
        "this user may not open the USB device: add the udev rules for Android (package "
        "android-sdk-platform-tools-common) and put the user into the group plugdev, then plug the phone in again"
    ),
    "gone": "check cable, hub and that the phone is on, then see: leti-opt devices list",
}
"""What to do about a phone in a state that keeps it from being used."""


def of_refusal(address: str, step: str, said: str) -> PhoneError:
    """What the adb server said when it refused a phone's service."""
    said = " ".join(said.split())
    if "unauthorized" in said:
        return PhoneError(address, step, "it has not authorized this computer", ADVICE["unauthorized"])
    if "permission" in said:
        return PhoneError(address, step, said, ADVICE["permissions"])
    return PhoneGoneError(address, step, f"adb says: {said}", ADVICE["gone"])


def refused_file(address: str, step: str, remote: str, reason: bytes) -> PhoneError:
    """What a phone said when it refused a file."""
    text = reason.decode("utf-8", errors="replace")
    return PhoneError(address, step, f"the phone refuses {remote}: {text}", advice_on(text))


def advice_on(reason: str) -> str:
    """What to do about a reason for which a phone refuses a file or a command."""
    for word, advice in (
        ("No space left", "free some storage on the phone, then start again"),
        ("Read-only", "its storage is read-only: restart the phone; if that does not help, it is damaged or locked"),
        ("Permission denied", "the shell may not write there: restart the phone, and check what locks it down"),
        ("No such file", "see what removed it, and start again"),
    ):
        if word in reason:
            return advice
    return "try the same by hand with: adb shell"
