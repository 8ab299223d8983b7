"""A connection goes to an address that was checked, whatever the host's DNS says later."""

import asyncio
import ssl
import threading
from ipaddress import ip_address

import httpx2
import pytest

from adapters.webhooks import addresses
from adapters.webhooks.checked_transport import AddressRefused, CheckedTransport
from tests.webhooks.receiver import receiving


class Connections(httpx2.AsyncBaseTransport):
    """Keeps the requests that would be sent; those to `dead` addresses find nobody."""

    def __init__(self, *dead):
        self.dead = dead
        self.requests = []

    async def handle_async_request(self, request):
        self.requests.append((request.url, dict(request.headers), dict(request.extensions)))
        if request.url.host in self.dead:
            raise httpx2.ConnectError("nobody")
        return httpx2.Response(204)


def names(**hosts):
    """A DNS in which each lookup of a host takes its next answer."""

    async def resolve(host, port):
        answers = hosts[host.replace(".", "_").replace("-", "_")]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [ip_address(one) for one in found]

    return resolve


async def post(url, transport):
    async with httpx2.AsyncClient(transport=transport, trust_env=False) as client:
        return await client.post(url, content=b"{}")


async def test_the_connection_goes_to_the_checked_address_with_the_name_of_the_host():
    inner = Connections()
    await post(
        "https://studio.example/hook", CheckedTransport(resolve=names(studio_example=[["8.8.8.8"]]), inner=inner)
    )

    [(url, headers, extensions)] = inner.requests
    assert (url.host, url.path) == ("8.8.8.8", "/hook")
    assert headers["host"] == "studio.example"
    assert extensions["sni_hostname"] == "studio.example"


async def test_a_host_that_turns_private_later_is_refused():
    inner = Connections()
    transport = CheckedTransport(resolve=names(studio_example=[["8.8.8.8"], ["10.0.0.1"]]), inner=inner)
    await post("https://studio.example/", transport)
    with pytest.raises(AddressRefused):
        await post("https://studio.example/", transport)

    assert [url.host for url, _, _ in inner.requests] == ["8.8.8.8"]


async def test_only_the_allowed_of_several_addresses_are_tried_each_in_turn():
    inner = Connections("8.8.8.8")
    resolve = names(studio_example=[["10.0.0.1", "8.8.8.8", "::1", "2606:4700::1111"]])
    answer = await post("http://studio.example:8080/", CheckedTransport(resolve=resolve, inner=inner))

    assert answer.status_code == 204
    assert [(url.host, url.port) for url, _, _ in inner.requests] == [("8.8.8.8", 8080), ("2606:4700::1111", 8080)]


async def test_a_private_host_works_with_permission():
    inner = Connections()
    resolve = names(nas_lan=[["192.168.1.5"]])
    await post("http://nas.lan/", CheckedTransport(allow_private=True, resolve=resolve, inner=inner))

    assert inner.requests[0][0].host == "192.168.1.5"


async def test_a_host_in_other_scripts_is_looked_up_by_its_ascii_name():
    looked_up = []

    async def resolve(host, port):
        looked_up.append((host, port))
        return [ip_address("8.8.8.8")]

    await post("https://b\u00fccher.example/", CheckedTransport(resolve=resolve, inner=Connections()))

    assert looked_up == [("xn--bcher-kva.example", 443)]


async def test_a_real_connection_to_an_address_in_the_url_works():
    async with receiving() as receiver:
        answer = await post(receiver.url, CheckedTransport())

    assert answer.status_code == 204
    assert receiver.received[0].headers["host"] == f"127.0.0.1:{receiver.port}"


async def test_a_name_without_an_address_is_an_error_of_the_connection():
    async def resolve(host, port):
        raise OSError("no such host")

    with pytest.raises(httpx2.ConnectError):
        await post("https://nowhere.example/", CheckedTransport(resolve=resolve))


async def test_a_name_with_a_dot_at_its_end_has_a_certificate_without():
    inner = Connections()
    resolve = names(studio_example_=[["8.8.8.8"]])
    await post("https://studio.example./", CheckedTransport(resolve=resolve, inner=inner))

    assert inner.requests[0][2]["sni_hostname"] == "studio.example"


def test_the_authorities_are_not_loaded_for_each_event(monkeypatch):
    CheckedTransport()
    loads = []
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **__: loads.append(1))
    CheckedTransport()

    assert loads == []


async def test_lookups_that_hang_leave_the_threads_of_other_work_alone(monkeypatch):
    answer = threading.Event()
    monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_, **__: answer.wait(30) and [])
    lookups = [asyncio.create_task(addresses.resolve_host("slow.example", 443)) for _ in range(40)]
    try:
        await asyncio.sleep(0)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "done"), 20) == "done"
    finally:
        answer.set()
        await asyncio.gather(*lookups)
