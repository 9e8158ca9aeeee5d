"""Which run an address means, in every form that is published (contract §7.11)."""

import pytest

from runbook_runner.client.addresses import HOSTED_API, RemoteRun, parse_run
from runbook_runner.core.errors import InputError


@pytest.mark.parametrize(
    "text",
    [
        "acme/pdf/37c37963",
        "https://jetty.io/acme/pdf/37c37963",
        "https://flows.jetty.io/acme/pdf/37c37963/",
        "https://jetty.io/trajectory/acme/pdf/37c37963?tab=files#top",
        "https://flows-api.jetty.io/api/v1/db/trajectory/acme/pdf/37c37963",
        "https://flows-api.jetty.io/api/v1/trajectory/acme/pdf/37c37963",
        "https://flows-api.jetty.io/api/v1/trajectory/acme/pdf/37c37963/download",
        "https://jetty.io/api/mise/db/trajectory/acme/pdf/37c37963",
    ],
)
def test_every_published_form_names_the_run(text: str) -> None:
    run = parse_run(text)
    assert run[:3] == ("acme", "pdf", "37c37963")
    run.require_of(HOSTED_API, named=False)


def test_names_with_spaces_are_encoded_in_paths() -> None:
    run = parse_run("https://jetty.io/my%20team/pdf/tr123-turn_0")
    assert run[:3] == ("my team", "pdf", "tr123-turn_0")
    assert run.path == "my%20team/pdf/tr123-turn_0"


@pytest.mark.parametrize(
    "text",
    [
        "37c37963",
        "acme/pdf",
        "acme/../37c37963",
        "acme/pdf/..%2f..%2fetc",
        "https://jetty.io/acme/pdf/%00",
        "https://me:secret@jetty.io/acme/pdf/37c37963",
        "ftp://jetty.io/acme/pdf/37c37963",
        "http://[::1/acme/pdf/37c37963",
        "acme-pdf--37c37963",
        "",
    ],
)
def test_what_names_no_run_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_run(text)
    assert "secret" not in str(caught.value)


def test_an_address_of_another_platform_needs_its_api_to_be_named() -> None:
    run = parse_run("https://jetty.example.org/acme/pdf/37c37963")
    with pytest.raises(InputError, match="name its API with --api"):
        run.require_of(HOSTED_API, named=False)
    run.require_of("https://api.example.org", named=True)
    RemoteRun("acme", "pdf", "1").require_of(HOSTED_API, named=False)
