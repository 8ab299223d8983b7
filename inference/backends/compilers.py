"""The compilers that torch.compile calls. Imports no torch."""

import os
import shutil
import sys


def has_compiler(*, cpp: bool = True) -> bool:
    """Whether a compiler is installed for C++, or for C, which Triton calls."""
    if sys.platform == "win32":
        return shutil.which("cl") is not None
    names = (os.environ.get("CXX", ""), "g++", "clang++") if cpp else (os.environ.get("CC", ""), "gcc", "clang")
    return any(name and shutil.which(name) for name in names)
