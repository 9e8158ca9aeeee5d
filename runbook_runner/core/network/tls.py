"""Core: which certificate authorities are trusted for connections to the internet. Import it where it is used: `ssl` is
slow to import."""

import os
import ssl
from pathlib import Path

import certifi

from runbook_runner.core.errors import InputError


def trusted_roots() -> ssl.SSLContext:
    """The certificates that SSL_CERT_FILE and SSL_CERT_DIR name, as for OpenSSL's tools; else Mozilla's."""
    named = any(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    return ssl.create_default_context(cafile=None if named else certifi.where())


def trusted_by_user(bundle: Path | None) -> ssl.SSLContext:
    """The same, and the certificates of a bundle: `Settings.ca_bundle`. Raises InputError when it can't be read."""
    context = trusted_roots()
    if bundle is not None:
        try:
            context.load_verify_locations(bundle)
        except OSError as error:
            raise InputError(f"The CA bundle can't be read: {error}.", where=str(bundle)) from error
    return context
