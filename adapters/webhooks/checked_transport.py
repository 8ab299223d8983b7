"""Connects only to addresses that were checked: the host is resolved here, and its connection goes to that address.

Checking a name and then connecting by name would let its DNS answer differently the second time.
"""

import ssl
from collections.abc import Awaitable, Callable, Sequence
from functools import cache

import httpx2

from adapters.webhooks.addresses import Address, is_allowed, resolve_host

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]
_PORTS = {"https": 443, "http": 80}


@cache
def _encryption() -> ssl.SSLContext:
    """Loading the certificate authorities takes tens of milliseconds, too long for each event."""
    return httpx2.create_ssl_context()


class AddressRefused(httpx2.TransportError):
    """The host has no address that events may be sent to."""


class CheckedTransport(httpx2.AsyncBaseTransport):
    """For one host. The `Host` header, SNI and the certificate's name stay those of the host."""

    def __init__(
        self,
        *,
        allow_private: bool = False,
        resolve: Resolve = resolve_host,
        inner: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """`resolve`: the addresses of a host and port. `inner`: makes the connection."""
        self._allow_private = allow_private
        self._resolve = resolve
        # A kept connection would belong to an address that was checked for an earlier event.
        limits = httpx2.Limits(max_keepalive_connections=0)
        self._inner = inner or httpx2.AsyncHTTPTransport(verify=_encryption(), limits=limits)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Raises: AddressRefused, httpx2.TransportError."""
        url = request.url
        host = url.raw_host.decode("ascii")
        request.extensions = {**request.extensions, "sni_hostname": host.rstrip(".")}
        failure: httpx2.TransportError | None = None
        for address in await self._find_allowed(host, url.port or _PORTS[url.scheme]):
            request.url = url.copy_with(host=str(address))
            try:
                return await self._inner.handle_async_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failure = error
        assert failure is not None
        raise failure

    async def _find_allowed(self, host: str, port: int) -> list[Address]:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpx2.ConnectError("its host is unknown") from error
        allowed = [one for one in addresses if is_allowed(one, host, allow_private=self._allow_private)]
        if not allowed:
            raise AddressRefused("its host has no address that events may be sent to")
        return allowed

    async def aclose(self) -> None:
        await self._inner.aclose()
