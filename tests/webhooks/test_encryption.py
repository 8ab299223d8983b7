"""Over https, the certificate must be that of the host in the config, though the connection goes to an address."""

import asyncio
import shutil
import ssl
import subprocess
from ipaddress import ip_address

import httpx2
import pytest

from adapters.webhooks.checked_transport import CheckedTransport
from tests.webhooks.receiver import Receiver

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        shutil.which("openssl") is None, reason="openssl, which makes the certificate, is not installed"
    ),
]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Of studio.example; returns its files."""
    folder = tmp_path_factory.mktemp("certificate")
    key, path = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", key, "-out", path, "-days", "2", "-subj", "/CN=studio.example",
            "-addext", "subjectAltName=DNS:studio.example",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return path, key


async def post(host, certificate):
    """What a receiver with the certificate gets from a request to the host, whose address is loopback."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(*certificate)
    names = []
    server_side.sni_callback = lambda _socket, name, _context: names.append(name)
    receiver = Receiver()

    async def resolve(_host, _port):
        return [ip_address("127.0.0.1")]

    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=server_side)
    port = server.sockets[0].getsockname()[1]
    client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    super(ssl.SSLContext, client_side).load_verify_locations(certificate[0])  # other tests load no authorities
    inner = httpx2.AsyncHTTPTransport(verify=client_side)
    transport = CheckedTransport(allow_private=True, resolve=resolve, inner=inner)
    async with server, httpx2.AsyncClient(transport=transport, trust_env=False) as client:
        await client.post(f"https://{host}:{port}/", content=b"{}")
    return names, receiver


async def test_the_name_of_the_host_is_asked_for_and_verified(certificate):
    names, receiver = await post("studio.example", certificate)

    assert names == ["studio.example"]
    assert receiver.received[0].headers["host"].startswith("studio.example:")


async def test_a_certificate_of_another_host_is_refused(certificate):
    with pytest.raises(httpx2.ConnectError, match="Hostname mismatch"):
        await post("elsewhere.example", certificate)
