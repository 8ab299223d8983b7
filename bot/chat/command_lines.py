"""Command lines in sentences, such as `easel setup`: code where a platform has it, never bare backticks.

What people wrote keeps its backticks.
"""

import re

_COMMAND_LINE = re.compile(r"`((?:easel|\.venv/bin/uv) [^`\n]{1,200})`")


def split_command_lines(text: str) -> list[str]:
    """Plain text and, at odd places, command lines without their backticks."""
    return _COMMAND_LINE.split(text)
