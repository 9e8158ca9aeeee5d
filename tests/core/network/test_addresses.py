"""Allow-lists: what a rule names, and that no spelling of a private address gets past it."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_runner.core.errors import InputError
from runbook_runner.core.network.addresses import AllowList, is_public, parse_rule

PRIVATE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200", "0.0.0.0", "224.0.0.1",
    "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "fec0::1", "192.0.0.9", "192.0.2.1", "2001:db8::1",
    "168.63.129.16", "64:ff9b:1::a9fe:a9fe",
    "2001:0:53aa:64c:0:0:5601:5601",
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "host", "port", "allowed"),
    [
        ("example.com", "example.com", 443, True),
        ("example.com", "EXAMPLE.com.", 443, True),
        ("example.com", "www.example.com", 443, False),
        ("example.com", "notexample.com", 443, False),
        ("example.com", "example.com.evil.org", 443, False),
        ("*.example.com", "a.b.example.com", 443, True),
        ("*.example.com", "example.com", 443, False),
        ("*.example.com", "evilexample.com", 443, False),
        ("*.example.com", "evil.org\0.example.com", 443, False),
        ("example.com:443", "example.com", 443, True),
        ("example.com:443", "example.com", 80, False),
        ("10.0.0.0/8", "10.9.8.7", 5432, True),
        ("10.0.0.0/8", "11.0.0.1", 5432, False),
        ("[fd00::1]:80", "fd00::1", 80, True),
        ("[fd00::1]:80", "fd00::1", 81, False),
        ("127.0.0.1:8000", "::ffff:127.0.0.1", 8000, True),
        ("93.184.216.34", "93.184.216.34", 80, True),
    ],
)
def test_rule_names_what_it_says_and_nothing_that_only_looks_like_it(rule, host, port, allowed):
    assert AllowList([rule]).admits_host(host, port).allowed is allowed


@pytest.mark.parametrize(
    "text", ["", "*", "*.*.com", "http://x.com", "x.com/path", "x y", "10.0.0.999", "a.1", "x:99999999"]
)
def test_what_is_no_host_is_refused_with_the_forms_there_are(text):
    with pytest.raises(InputError, match=r"not a host"):
        parse_rule(text)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_address_behind_a_listed_name_is_refused(address):
    decision = AllowList(["example.com"]).admits_address(ipaddress.ip_address(address), 80, by_name=True)
    assert not decision.allowed
    assert "private" in decision.reason


@pytest.mark.parametrize("address", PRIVATE)
def test_the_same_addresses_are_not_public_for_a_fetch(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PRIVATE)
def test_private_address_that_is_listed_itself_is_allowed(address):
    plain = ipaddress.ip_address(address)
    inner = AllowList(["0.0.0.0/0", "::/0"]).admits_address(plain, 80, by_name=True)
    assert inner.allowed


def test_nothing_is_allowed_by_an_empty_list():
    assert not AllowList([]).admits_host("example.com", 443).allowed
    assert not AllowList([]).admits_host("1.1.1.1", 443).allowed


@given(st.text(max_size=60))
def test_any_text_is_a_rule_or_a_clear_error(text):
    try:
        rule = parse_rule(text)
    except InputError:
        return
    assert (rule.host is None) != (rule.network is None)


@pytest.mark.parametrize(
    ("rule", "other", "covered"),
    [
        ("a.org", "a.org", True),
        ("a.org", "a.org:443", True),
        ("a.org:443", "a.org", False),
        ("*.a.org", "b.a.org", True),
        ("*.a.org", "*.b.a.org", True),
        ("*.a.org", "*.a.org:80", True),
        ("*.a.org", "a.org", False),
        ("*.b.a.org", "*.a.org", False),
        ("a.org", "10.0.0.1", False),
        ("10.0.0.0/8", "10.2.0.0/16", True),
        ("10.2.0.0/16", "10.0.0.0/8", False),
        ("10.0.0.0/8", "fd00::1", False),
        ("10.0.0.0/8", "a.org", False),
    ],
)
def test_a_rule_covers_what_lets_through_no_more_than_itself(rule, other, covered):
    assert parse_rule(rule).covers(parse_rule(other)) is covered
