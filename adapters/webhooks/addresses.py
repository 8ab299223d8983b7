"""Which addresses events may be sent to: public ones, and those that the owner named or permitted."""

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

Address = IPv4Address | IPv6Address

_resolvers = ThreadPoolExecutor(4, thread_name_prefix="webhook-dns")
"""A lookup cannot be cancelled: those that hang must not take the threads that other work runs in."""
_NAT64 = IPv6Network("64:ff9b::/96")


def embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for: mapped, translated (NAT64) or tunnelled (6to4)."""
    if isinstance(address, IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _NAT64:
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    return address if inner is None else inner


def is_public(address: Address) -> bool:
    """Whether it is reachable everywhere: not private, loopback, link-local, shared, reserved or multicast."""
    address = embedded(address)
    is_local = isinstance(address, IPv6Address) and address.is_site_local
    return address.is_global and not (address.is_multicast or address.is_reserved or is_local)


def is_allowed(address: Address, host: str, *, allow_private: bool) -> bool:
    """Whether events for this host may be sent to this address of it.

    A host that is an address names it, and `localhost` names loopback: the owner wrote that. Any other name can be made
    to mean a private address by those who run its DNS, which needs `allow_private`.
    """
    address = embedded(address)
    if address.is_multicast or address.is_unspecified or address == IPv4Address("255.255.255.255"):
        return False
    return is_public(address) or allow_private or _is_named(address, host)


def _is_named(address: Address, host: str) -> bool:
    try:
        return embedded(ip_address(host.strip("[]"))) == address
    except ValueError:
        name = host.casefold().rstrip(".")
        return address.is_loopback and (name == "localhost" or name.endswith(".localhost"))


async def resolve_host(host: str, port: int) -> Sequence[Address]:
    """Its addresses, in the order to try. Raises: OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(_resolvers, _look_up, host, port)
    return list(dict.fromkeys(ip_address(str(one[4][0]).partition("%")[0]) for one in found))


def _look_up(host: str, port: int) -> list[tuple[Any, ...]]:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
