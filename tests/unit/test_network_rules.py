"""Rules of the network by name: what they match, and which addresses are nobody's to reach."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import PolicyError
from sandbox.network.access import FORWARDS_CAP, NetworkAccess
from sandbox.network.rules import NetworkRules, is_public, normal_host


@pytest.mark.parametrize(
    ("rule", "host", "port", "is_let_through"),
    [
        ("packages.example.org:443", "packages.example.org", 443, True),
        ("packages.example.org:443", "packages.example.org", 80, False),
        ("packages.example.org:443", "evil-packages.example.org", 443, False),
        ("*.example.com:443", "a.b.example.com", 443, True),
        ("*.example.com:443", "example.com", 443, False),
        ("*.example.com:443", "notexample.com", 443, False),
        ("example.org:*", "example.org", 9999, True),
        ("127.0.0.1:5432!", "127.0.0.1", 5432, True),
        ("[::1]:80!", "::1", 80, True),
        ("Bücher.example:443", "xn--bcher-kva.example", 443, True),
    ],
)
def test_a_rule_names_a_host_and_a_port(rule, host, port, is_let_through):
    assert (NetworkRules.parse([rule]).match(host, port) is not None) is is_let_through


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("example.org", "names no port"),
        ("https://example.org", "a rule is no URL"),
        ("example.org:0", "'0' is no port"),
        ("example.org:65536", "'65536' is no port"),
        ("example.org:٣", "is no port"),
        (":443", "names no port"),
        ("::1:443", "names no port"),
        ("*.10.0.0.1:80", "an address has no names below it"),
        ("0x7f000001:80", "is an address in a form that is not plain"),
        ("a b:80", "is no host name"),
    ],
)
def test_a_wrong_rule_is_named_with_its_form(rule, problem):
    with pytest.raises(PolicyError) as caught:
        NetworkRules.parse(["example.org:443", rule])
    assert caught.value.field == "network[1]"
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:0:0:0:0:80ff:fffe",
    ],
)  # fmt: skip
def test_addresses_that_are_not_of_the_internet_are_known(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111"])
def test_addresses_of_the_internet_are_known(address):
    assert is_public(address)


@given(st.text(max_size=300))
def test_any_text_is_a_host_or_refused(text):
    try:
        host = normal_host(text)
    except (ValueError, UnicodeError):
        return
    assert host == host.lower()
    assert host.isascii()
    assert normal_host(host) == host


def test_the_proxy_has_a_port_whatever_ports_of_the_loopback_are_named():
    named = range(3128, 3133)
    for mark in ("", "!"):
        rules = [f"localhost:{port}{mark if port < 3132 else ''}" for port in named]
        access = NetworkAccess(rules, {})
        proxy, *others = access.ports
        assert proxy not in others
        assert len(others) == len(set(others)) == FORWARDS_CAP
        access.close()
