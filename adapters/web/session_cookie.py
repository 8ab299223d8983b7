"""The cookie of the page's session, and what requests that come with it must show.

A browser also sends a cookie with requests that other pages trigger. `SameSite=Strict` keeps other sites out; pages of
the same site (another port, a neighbouring subdomain) cannot set `X-Easel` without asking the server first, which
never agrees.
"""

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from adapters.web.problems import RequestRefused
from bot.usecases.sessions import MAX_TOKEN

COOKIE = "easel_session"
"""Over http. Cookies are not isolated by port: other servers on this machine receive it for paths below `PATH`."""
HOST_COOKIE = f"__Host-{COOKIE}"
"""Over https: browsers take it from this host alone, so that a neighbouring subdomain cannot plant a session."""
PATH = "/api/v1"
MAX_AGE_S = 400 * 86_400
"""The most that browsers accept: the server alone decides when a session ends, also of a page that stays open."""
WRITE_HEADER = "X-Easel"
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_OWN_SITES = {"same-origin", "none"}


def read_tokens(headers: Headers) -> dict[str, str]:
    """Candidate session tokens, by the name of the cookie."""
    found: dict[str, str] = {}
    for header in headers.getlist("cookie"):
        for part in header.split(";"):
            name, _, value = part.strip().partition("=")
            if name in (COOKIE, HOST_COOKIE) and value.isascii() and 0 < len(value) <= MAX_TOKEN:
                found.setdefault(name, value)
    return found


def read_session(scope: Scope, headers: Headers) -> str | None:
    """The token, where sessions are accepted; elsewhere only keys are, whatever a client sends."""
    if not str(scope["path"]).startswith(f"{PATH}/"):
        return None
    return read_tokens(headers).get(_kind(scope, headers)[0])


def require_own_page(scope: Scope, headers: Headers) -> None:
    """Refuse what a page of another origin can make a browser send. Raises: RequestRefused."""
    sites = headers.getlist("sec-fetch-site")
    origins = headers.getlist("origin")
    is_foreign = not _OWN_SITES.issuperset(sites) if sites else not all(_is_own(one, headers) for one in origins)
    if is_foreign:
        raise RequestRefused("blocked", "Other websites cannot use this server: open Easel's own page.")


def require_write_header(scope: Scope, headers: Headers) -> None:
    """Of a request that came with a session and changes something. Raises: RequestRefused."""
    if scope["method"] in _SAFE_METHODS:
        return
    if headers.get(WRITE_HEADER) != "1":
        raise RequestRefused("blocked", "Requests that change something with a session need the header X-Easel: 1.")
    require_own_page(scope, headers)


def _is_own(origin: str, headers: Headers) -> bool:
    """Without its scheme, which a proxy may change."""
    return origin.partition("://")[2].casefold() == headers.get("host", "").casefold()


def set_cookie(response: Response, token: str, scope: Scope, headers: Headers) -> None:
    name, path, is_secure = _kind(scope, headers)
    response.set_cookie(name, token, MAX_AGE_S, path=path, secure=is_secure, httponly=True, samesite="strict")


def clear_cookie(response: Response, scope: Scope, headers: Headers) -> None:
    name, path, is_secure = _kind(scope, headers)
    response.delete_cookie(name, path=path, secure=is_secure, httponly=True, samesite="strict")


def _kind(scope: Scope, headers: Headers) -> tuple[str, str, bool]:
    """The cookie's name and path, and whether it is for https only."""
    return (HOST_COOKIE, "/", True) if _is_https(scope, headers) else (COOKIE, PATH, False)


def _is_https(scope: Scope, headers: Headers) -> bool:
    """Also through a proxy: its header, the origin that the browser names, or a cookie that it sends over https only. A
    client that lies about it gets a cookie that its own browser does not send back."""
    named = headers.get("x-forwarded-proto", "").partition(",")[0].strip().casefold()
    is_named = named == "https" or headers.get("origin", "").casefold().startswith("https://")
    return scope["scheme"] == "https" or is_named or HOST_COOKIE in read_tokens(headers)
