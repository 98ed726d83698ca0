"""Which addresses a page may come from, whatever the name that leads there."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import WebError
from runner.web.addresses import Guard, is_public, system_resolver

CLOSED = (
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1",
    "169.254.169.254", "100.100.100.200", "100.64.0.1", "168.63.129.16", "192.0.0.192",
    "192.88.99.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "fe80::1",
    "fc00::1", "fd00:ec2::254", "ff02::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1", "2002:7f00:1::", "2001:0:53aa:64c::1", "2001:db8::1", "3fff::1", "5f00::1",
    "fec0::1",
)  # fmt: skip
PUBLIC = ("1.1.1.1", "93.184.215.14", "2606:4700::1111", "2a00:1450:4001:829::200e")


def resolving(*answers: str):
    async def resolver(_host: str, _port: int) -> tuple[str, ...]:
        return answers

    return resolver


@pytest.mark.parametrize("address", CLOSED)
async def test_an_address_inside_is_refused(address):
    with pytest.raises(WebError, match="not on the public internet"):
        await Guard(resolver=resolving(address)).address_of("example.org", 80)


@pytest.mark.parametrize("address", PUBLIC)
async def test_a_public_address_is_given_back(address):
    assert await Guard(resolver=resolving(address)).address_of("example.org", 443) == address


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0",
     "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "169.254.169.254", "0xa9fea9fe"],
)  # fmt: skip
async def test_every_way_to_write_an_inside_address_is_refused(host):
    with pytest.raises(WebError, match="not on the public internet"):
        await Guard(resolver=system_resolver).address_of(host, 80)


async def test_one_inside_address_among_public_ones_closes_the_name():
    with pytest.raises(WebError):
        await Guard(resolver=resolving("1.1.1.1", "10.0.0.1")).address_of("example.org", 80)


async def test_a_port_that_is_no_web_port_is_refused():
    with pytest.raises(WebError, match="ports 80, 443, 8080, 8443 only"):
        await Guard(resolver=resolving("1.1.1.1")).address_of("example.org", 25)


async def test_a_network_that_the_owner_opens_is_open_at_any_port():
    guard = Guard(allowed=(ipaddress.ip_network("10.1.0.0/16"),), resolver=resolving("10.1.2.3"))
    assert await guard.address_of("wiki.internal", 3000) == "10.1.2.3"
    other = Guard(allowed=(ipaddress.ip_network("10.1.0.0/16"),), resolver=resolving("10.2.2.3"))
    with pytest.raises(WebError):
        await other.address_of("wiki.internal", 3000)


@pytest.mark.parametrize("host", ["", "x" * 254])
async def test_a_host_that_is_none_is_refused(host):
    with pytest.raises(WebError, match="no host"):
        await Guard(resolver=resolving("1.1.1.1")).address_of(host, 80)


@given(st.ip_addresses())
def test_nothing_is_public_that_the_registry_calls_special(address):
    if is_public(address) and getattr(address, "ipv4_mapped", None) is None:
        assert address.is_global
        specials = ("private", "loopback", "link_local", "multicast", "reserved", "unspecified")
        assert not any(getattr(address, f"is_{special}") for special in specials)


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_as_open_as_what_it_maps(address):
    assert is_public(ipaddress.IPv6Address(f"::ffff:{address}")) is is_public(address)
