"""Who is calling.

A key says who; the lock file's secret is the person at the keyboard. Without any key, a server that only this machine
can reach takes every caller for that person, so it must refuse what a foreign web page can make a browser send: its
own name resolved to loopback (DNS rebinding), a form or script of another origin, a proxy that passes others through.
"""

import hmac
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from adapters.web.context import House, TheHouse
from bot.errors import AdminsOnly, Unauthorized
from bot.ports import Person

LOCAL = "local"
_FORWARDING = {"forwarded", "x-real-ip", "via"}
_OWN_SITES = {"same-origin", "none"}

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="`easel keys create` makes a key. While there is none, this machine needs none.",
)


@dataclass(frozen=True)
class Caller:
    """`key` is the key's prefix, or "local"; `is_admin`: who calls may administer this house."""

    person: Person
    key: str
    is_admin: bool = False


def bearer_of(request: Request) -> str | None:
    """What follows `Bearer`; None without the header. Raises: Unauthorized for another scheme."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, text = header.partition(" ")
    if scheme.casefold() != "bearer":
        raise Unauthorized
    return text.strip()


def is_secret(house: House, text: str | None) -> bool:
    secret = house.surroundings.secret
    return bool(text and secret) and hmac.compare_digest((text or "").encode(), secret.encode())


async def the_caller(request: Request, house: TheHouse, _documented: Annotated[object, Security(bearer)]) -> Caller:
    """Raises: Unauthorized."""
    people = house.usecases.people
    text = bearer_of(request)
    if text is not None:
        if is_secret(house, text):
            return Caller(await people.local(), LOCAL, is_admin=True)
        person, key = await people.authenticate(text)
        return Caller(person, key.prefix, is_admin=key.is_admin)
    if await house.needs_key():
        raise Unauthorized
    check_local(request, house)
    return Caller(await people.local(), LOCAL, is_admin=True)


def check_local(request: Request, house: House) -> None:
    """Refuse what does not come straight from a program or page of this machine. Raises: Unauthorized."""
    host = request.headers.get("host", "")
    if _name_of(host) not in {"127.0.0.1", "localhost", "[::1]", _bracketed(house.settings.host)}:
        raise Unauthorized("host")
    if any(name in _FORWARDING or name.startswith("x-forwarded-") for name in request.headers):
        raise Unauthorized("forwarded")
    origin = request.headers.get("origin")
    if origin is not None and origin.casefold() != f"http://{host.casefold()}":
        raise Unauthorized("origin")
    if request.headers.get("sec-fetch-site", "none") not in _OWN_SITES:
        raise Unauthorized("origin")


def _name_of(host: str) -> str:
    """A Host header without its port, lower case."""
    name, colon, port = host.casefold().rpartition(":")
    return name if colon and port.isdecimal() else host.casefold()


def _bracketed(host: str) -> str:
    return f"[{host.casefold()}]" if ":" in host else host.casefold()


TheCaller = Annotated[Caller, Depends(the_caller)]


def the_admin(caller: TheCaller) -> Caller:
    """The person at the keyboard, or whoever has a key made with `--admin`. Raises: AdminsOnly."""
    if not caller.is_admin:
        raise AdminsOnly
    return caller


def the_keyboard(request: Request, house: TheHouse) -> None:
    """Only for a program that can read the lock file. Raises: Unauthorized."""
    if not is_secret(house, bearer_of(request)):
        raise Unauthorized
