"""Questions on the terminal, printed to stderr so that stdout can be piped."""

import getpass
import sys
import warnings
from typing import Protocol


class Prompter(Protocol):
    """Asks questions. Every method raises KeyboardInterrupt at end of input."""

    def ask(self, question: str, default: str = "") -> str:
        """The answer without surrounding spaces, or `default` if it is empty."""

    def secret(self, question: str) -> str:
        """Ask without echoing the answer."""

    def confirm(self, question: str, *, default: bool = False) -> bool: ...


class TerminalPrompter:
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
                warnings.simplefilter("ignore", getpass.GetPassWarning)  # without a terminal, stdin is read as is
                return getpass.getpass(f"{question}: ", sys.stderr).strip()
        except EOFError:
            raise KeyboardInterrupt from None

    def confirm(self, question: str, *, default: bool = False) -> bool:
        while True:
            answer = self.ask(f"{question} (y/n)", "y" if default else "n").casefold()
            if answer in ("y", "yes", "n", "no"):
                return answer.startswith("y")


def find_prompter() -> Prompter | None:
    """A prompter on the terminal; None without a terminal."""
    return TerminalPrompter() if sys.stdin is not None and sys.stdin.isatty() else None
