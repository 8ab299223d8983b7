"""Checks what confines the process that decodes images from strangers."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from adapters.cli.doctor.check import OK, WARN, Check

if TYPE_CHECKING:
    from adapters.cli.ports import CompositionRoot

_MEASURES = {
    "no_new_privs": ("no_new_privs", "it could start programs with more rights"),
    "landlock": ("Landlock", "Linux 5.13 has it, where /sys/kernel/security/lsm lists it"),
    "capabilities": ("no capabilities", "do not run Easel as root"),
    "limits": ("limits on files and processes", "it could open files"),
    "seccomp": ("seccomp", "a container must allow it, and the processor must be x86_64 or aarch64"),
}
"""By measure of `CompositionRoot.probe_sandbox`: what it is called, and what to know where it is missing."""


def check_image_sandbox(composition: "CompositionRoot") -> Iterator[Check]:
    missing = composition.probe_sandbox()
    active = [name for measure, (name, _) in _MEASURES.items() if not missing.get(measure, "unknown")]
    if active:
        yield Check("images", OK, f"Images are decoded in a process with {', '.join(active)}.")
    if sys.platform != "linux":
        sentence = "Only Linux can confine the process that decodes images: use it if strangers may send some."
        yield Check("images", WARN, sentence)
        return
    for measure, (name, hint) in _MEASURES.items():
        if reason := missing.get(measure, "unknown"):
            yield Check("images", WARN, f"Images are decoded without {name} ({reason}): {hint}.")
