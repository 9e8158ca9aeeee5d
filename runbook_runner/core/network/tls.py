"""Core: which certificate authorities are trusted for connections to the internet. Import it where it is used: `ssl` is
slow to import."""

import os
import ssl

import certifi


def trusted_roots() -> ssl.SSLContext:
    """The certificates that SSL_CERT_FILE and SSL_CERT_DIR name, as for OpenSSL's tools; else Mozilla's."""
    named = any(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    return ssl.create_default_context(cafile=None if named else certifi.where())
