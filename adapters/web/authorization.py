"""Reads the Authorization header: a bearer token, or below some paths the password of HTTP Basic.

Clients of AUTOMATIC1111's API know only Basic, and send it even where no name and no password was entered.
"""

import base64
import binascii

CLIENT_HEADER = "X-Easel-Client"
"""With which `easel mcp` says that another program asks through it. Only the lock file's secret makes it valid."""
BASIC_PATHS = ("/sdapi/", "/controlnet/")
"""Below these, an API key may be the password of any user name."""
_NOTHING = frozenset({"", "undefined", "null", "none"})
"""What clients send as a name or password that nobody entered."""


def takes_basic(path: str) -> bool:
    return path.startswith(BASIC_PATHS)


def read_authorization(path: str, header: str | None) -> str | None:
    """The key that the header shows; None: it shows none.

    Raises: ValueError: the scheme is not accepted here, or its credentials cannot be read.
    """
    if header is None or not header.strip():
        return None
    scheme, _, text = header.strip().partition(" ")
    if scheme.casefold() == "bearer":
        return text.strip()
    if not takes_basic(path) or scheme.casefold() not in ("basic", ""):
        raise ValueError("unknown scheme")
    return _read_basic(text.strip())


def _read_basic(text: str) -> str | None:
    if text.casefold() in _NOTHING:
        return None
    try:
        decoded = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError("not base64") from error
    name, _, password = decoded.partition(":")
    if password.casefold() in _NOTHING:
        # Some clients have a single field, into which a key is entered as it is.
        return None if name.casefold() in _NOTHING else name
    return password
