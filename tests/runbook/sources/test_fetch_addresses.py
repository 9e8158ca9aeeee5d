"""Which addresses count as the open internet, and where GitHub keeps the text behind its pages."""

from ipaddress import ip_address
from urllib.parse import urlsplit

import pytest

from runbook_runner.core.errors import InputError
from runbook_runner.core.network.addresses import is_public
from runbook_runner.runbook.sources.fetch import raw_address, resolve, safe_url


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0"),
        *("100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("::1", "::", "fe80::1", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1"),
        *(
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2002:a00:1::",
        ),
    ],
)
def test_private_and_reserved_addresses_are_not_public(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "140.82.121.4", "2606:4700:4700::1111", "64:ff9b::101:101"])
def test_public_addresses_are_public(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "2130706433", "0x7f.1"])
def test_this_machine_is_refused_however_it_is_spelled(host):
    with pytest.raises(InputError, match=r"in a private network|can't be found"):
        resolve(urlsplit(f"https://[{host}]/" if ":" in host else f"https://{host}/"), is_public)


def test_unknown_host_is_said():
    with pytest.raises(InputError, match=r"The host nowhere\.invalid can't be found"):
        resolve(urlsplit("https://nowhere.invalid/"), is_public)


@pytest.mark.parametrize(
    ("page", "raw"),
    [
        ("https://github.com/o/r/blob/main/a/RUNBOOK.md", "https://raw.githubusercontent.com/o/r/main/a/RUNBOOK.md"),
        ("https://github.com/o/r/blob/v1/R.md?plain=1#L3", "https://raw.githubusercontent.com/o/r/v1/R.md"),
        ("https://www.github.com/o/r/raw/main/R.md", "https://raw.githubusercontent.com/o/r/main/R.md"),
        ("https://github.com/o/r/tree/main/a/", "https://raw.githubusercontent.com/o/r/main/a/RUNBOOK.md"),
        ("https://gist.github.com/me/0123abcd", "https://gist.githubusercontent.com/me/0123abcd/raw"),
        ("https://example.org/blob/main/R.md", "https://example.org/blob/main/R.md"),
    ],
)
def test_pages_are_translated_to_the_raw_text(page, raw):
    assert raw_address(page) == raw


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("https://me:pw@example.org/R.md", "https://example.org/R.md"),
        ("https://a@b@example.org/R.md?token=abc#x", "https://example.org/R.md"),
        ("https://example.org?x=https://a:b@c/", "https://example.org"),
        ("https://example.org/a@b/R.md", "https://example.org/a@b/R.md"),
    ],
)
def test_messages_show_no_password_and_no_query(given, safe):
    assert safe_url(given) == safe
