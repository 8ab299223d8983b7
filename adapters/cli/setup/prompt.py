"""Asks the person at the terminal: questions go to stderr, so that answers may be piped on."""

import getpass
import sys
import warnings
from typing import Protocol


class Person(Protocol):
    """Somebody who answers. Every method raises KeyboardInterrupt when they leave."""

    def ask(self, question: str, default: str = "") -> str:
        """What they typed, without spaces around it; `default` for nothing."""

    def secret(self, question: str) -> str:
        """The same, without showing it."""

    def confirm(self, question: str, *, default: bool = False) -> bool: ...


class Terminal:
    def ask(self, question: str, default: str = "") -> str:
        sys.stderr.write(f"{question} [{default}]: " if default else f"{question}: ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            sys.stderr.write("\n")
            raise KeyboardInterrupt
        return line.strip() or default

    def secret(self, question: str) -> str:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", getpass.GetPassWarning)  # without a terminal it is read as it is
                return getpass.getpass(f"{question}: ", sys.stderr).strip()
        except EOFError:
            raise KeyboardInterrupt from None

    def confirm(self, question: str, *, default: bool = False) -> bool:
        while True:
            said = self.ask(f"{question} (y/n)", "y" if default else "n").casefold()
            if said in ("y", "yes", "n", "no"):
                return said.startswith("y")


def find_person() -> Person | None:
    """None where nobody could answer."""
    return Terminal() if sys.stdin is not None and sys.stdin.isatty() else None
