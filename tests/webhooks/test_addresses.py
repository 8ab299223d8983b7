"""Which addresses events may be sent to."""

from ipaddress import ip_address

import pytest

from adapters.webhooks.addresses import is_allowed, is_public

LOCAL = (
    "10.1.2.3", "172.16.0.1", "192.168.1.1", "127.0.0.1", "127.9.9.9", "169.254.169.254", "100.64.0.1", "198.18.0.1",
    "240.0.0.1", "::1", "fe80::1", "fc00::1", "fec0::1", "2001:db8::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::a00:1", "2002:a00:1::", "::7f00:1",
)  # fmt: skip
NEVER = ("0.0.0.0", "255.255.255.255", "224.0.0.1", "239.1.1.1", "::", "ff02::1", "::ffff:224.0.0.1")


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_allowed_in_each_form(address):
    assert is_public(ip_address(address))
    assert is_allowed(ip_address(address), "studio.example", allow_private=False)


@pytest.mark.parametrize("address", LOCAL)
def test_addresses_of_networks_that_are_not_public_need_permission(address):
    assert not is_allowed(ip_address(address), "studio.example", allow_private=False)
    assert is_allowed(ip_address(address), "studio.example", allow_private=True)


@pytest.mark.parametrize("address", NEVER)
def test_addresses_of_no_host_are_never_allowed(address):
    assert not is_allowed(ip_address(address), address, allow_private=True)


@pytest.mark.parametrize("address", ["10.1.2.3", "127.0.0.1", "::1", "fc00::1"])
def test_an_address_in_the_url_names_itself_and_no_other(address):
    assert is_allowed(ip_address(address), address, allow_private=False)
    assert not is_allowed(ip_address("10.9.9.9"), address, allow_private=False)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "studio.localhost"])
def test_localhost_names_loopback_and_nothing_else(host):
    assert is_allowed(ip_address("127.0.0.1"), host, allow_private=False)
    assert is_allowed(ip_address("::1"), host, allow_private=False)
    assert not is_allowed(ip_address("10.0.0.1"), host, allow_private=False)
