"""Authenticates the caller.

An API key identifies a person; the lock file's secret identifies the local person. Until the first key exists, a
server that is reachable from this machine only treats every caller as the local person. It must therefore refuse
requests that a foreign web page can make a browser send (a foreign name that resolves to loopback, a form or script of
another origin) and those that a proxy forwards. A proxy that speaks HTTP/1.1, rewrites Host and adds no header cannot
be recognised.
"""

import asyncio
import hmac
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPBearer

from adapters.web.authorization import CLIENT_HEADER, read_authorization
from adapters.web.context import ContextDep, WebContext
from adapters.web.session_cookie import COOKIE, WRITE_HEADER, read_session, require_write_header
from bot.errors import AdminsOnly, Unauthorized
from bot.ports import Person
from bot.usecases import KEYLESS
from bot.usecases.people import is_key
from bot.usecases.sessions import hash_token

LOCAL = "local"
_CLIENTS = {"mcp"}
_FORWARDING = re.compile(
    r"via|(x-)?forwarded(-.*)?|(x-)?original-.*|.*-(ip|clientip|addr|address|for)|(x-)?(host|scheme|url-scheme|varnish)|"
    r"front-end-https|cdn-loop|x-cloud-trace-context|(.*-)?proxy(-.*)?|"
    r"(x-)?(coming-from|client-cert.*|(auth-request|authelia|authentik|remote|ssl|webauth)-.*)|"
    r"(x-)?(akamai|amz-cf|amzn|appengine|arr|azure|cdn|cf|cloudfront|envoy|fastly|fly|nf|ngrok|tailscale|vercel)-.*"
)
"""Headers with which proxies, tunnels and CDNs identify the client, its user or themselves, `-` for `_`."""
_OWN_SITES = {"same-origin", "none"}

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="Create a key with `easel keys create`. While no key exists, requests from this machine need none.",
)
session_cookie = APIKeyCookie(
    name=COOKIE, auto_error=False, scheme_name="session", description="From `POST /api/v1/session`, for the page."
)


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        key: the key's prefix, or "local".
        session: the hash of the session token.
        is_keyless: the local person, who needs no key as long as none exists.
        client: the API that the request came through, where `easel mcp` serves one.
    """

    person: Person
    key: str
    is_admin: bool = False
    session: str = ""
    is_keyless: bool = False
    client: str = ""


def read_bearer(request: Request) -> str | None:
    """The bearer token, or the key that HTTP Basic shows where that is accepted; None without either.

    Raises: Unauthorized: another scheme.
    """
    try:
        return read_authorization(request.scope["path"], request.headers.get("authorization"))
    except ValueError as error:
        raise Unauthorized from error


def is_local_secret(context: WebContext, text: str | None) -> bool:
    secret = context.adapter_context.secret
    return bool(text and secret) and hmac.compare_digest((text or "").encode(), secret.encode())


async def get_caller(
    request: Request,
    context: ContextDep,
    _bearer: Annotated[object, Security(bearer)] = None,
    _session: Annotated[object, Security(session_cookie)] = None,
) -> Caller:
    """Raises: Unauthorized, RequestRefused."""
    text = read_bearer(request)
    if text is not None:
        caller, client = await _key_caller(context, text), request.headers.get(CLIENT_HEADER, "")
        return replace(caller, client=client) if caller.key == LOCAL and client in _CLIENTS else caller
    token = read_session(request.scope, request.headers)
    if token is not None and (found := await _session_caller(request, context, token)) is not None:
        return found
    if await context.needs_key():
        is_open = not context.is_private or await context.has_keys()
        raise Unauthorized(_missing_access(request, token) if is_open else "locked")
    return await _keyless_caller(request, context)


async def get_client_caller(request: Request, context: WebContext, text: str) -> Caller:
    """The caller of an API that another program speaks, by the key that it shows; sessions are not accepted.

    Such programs always send some key. While this server needs none, any text is accepted in its place, but not one in
    the form of a key: that key was revoked, or it is another server's.

    Raises: Unauthorized.
    """
    if is_local_secret(context, text) or is_key(text):
        return await _key_caller(context, text)
    if await context.needs_key():
        is_open = not context.is_private or await context.has_keys()
        raise Unauthorized(("wrong_key" if text else "key") if is_open else "locked")
    return await _keyless_caller(request, context)


async def _key_caller(context: WebContext, text: str) -> Caller:
    """Raises: Unauthorized."""
    people = context.usecases.people
    if is_local_secret(context, text):
        return Caller(await people.local_person(), LOCAL, is_admin=True)
    person, key = await people.authenticate(text)
    return Caller(person, key.prefix, is_admin=key.is_admin and not person.is_blocked)


async def _keyless_caller(request: Request, context: WebContext) -> Caller:
    """Raises: Unauthorized."""
    require_local_request(request, context)
    return Caller(await context.usecases.people.local_person(), LOCAL, is_admin=True, is_keyless=True)


def _missing_access(request: Request, token: str | None) -> str:
    """People who use the page cannot send a header; programs can."""
    if token is not None:
        return "session"
    is_page = WRITE_HEADER in request.headers or request.headers.get("sec-fetch-site") == "same-origin"
    return "signed_out" if is_page else "key"


async def _session_caller(request: Request, context: WebContext, token: str) -> Caller | None:
    """None: there is no such session. Raises: RequestRefused."""
    found = await context.usecases.sessions.authenticate(token)
    if found is None:
        return None
    require_write_header(request.scope, request.headers)
    person, key = found
    is_admin = key.is_admin and not person.is_blocked
    return Caller(person, key.prefix, is_admin=is_admin, session=hash_token(token))


def require_local_request(request: Request, context: WebContext) -> None:
    """Accept only requests that come directly from a program or page on this machine. Raises: Unauthorized."""
    host = request.headers.get("host", "")
    if _host_name(host) not in {"127.0.0.1", "localhost", "[::1]", _bracketed(context.settings.host)}:
        raise Unauthorized("host")
    if request.scope["http_version"] == "1.0" or any(map(_is_forwarding, request.headers)):
        raise Unauthorized("forwarded")
    if any(origin.casefold() != f"http://{host.casefold()}" for origin in request.headers.getlist("origin")):
        raise Unauthorized("origin")
    if not _OWN_SITES.issuperset(request.headers.getlist("sec-fetch-site")):
        raise Unauthorized("origin")


def _is_forwarding(header: str) -> bool:
    return header != "host" and _FORWARDING.fullmatch(header.replace("_", "-")) is not None


def _host_name(host: str) -> str:
    """A Host header without its port, in lower case."""
    name, colon, port = host.casefold().rpartition(":")
    return name if colon and port.isdecimal() else host.casefold()


def _bracketed(host: str) -> str:
    return f"[{host.casefold()}]" if ":" in host else host.casefold()


CallerDep = Annotated[Caller, Depends(get_caller)]


@asynccontextmanager
async def watch_access(request: Request, context: WebContext, caller: Caller) -> AsyncIterator[asyncio.Event]:
    """An event that is set when the caller loses access; for long-lived responses."""
    people = context.usecases.people
    names = [caller.person.id, KEYLESS if caller.is_keyless else caller.key, *filter(None, [caller.session])]
    with people.access.watch(*names) as ended:
        # It may have ended after the caller was authenticated.
        if await context.needs_key() if caller.is_keyless else not await _is_active(context, caller):
            ended.set()
        yield ended


async def _is_active(context: WebContext, caller: Caller) -> bool:
    if caller.session:
        return await context.usecases.sessions.is_active(caller.session)
    return caller.key == LOCAL or await context.usecases.people.is_active(caller.key)


def require_admin(caller: CallerDep) -> Caller:
    """The local person, or the owner of a key created with `--admin`. Raises: AdminsOnly."""
    if not caller.is_admin:
        raise AdminsOnly
    return caller


def require_local_secret(request: Request, context: ContextDep) -> None:
    """Accept only programs that can read the lock file. Raises: Unauthorized."""
    if not is_local_secret(context, read_bearer(request)):
        raise Unauthorized
