#!/usr/bin/env bash
# Builds the base image of our snapshots on a machine that reaches a Debian mirror but no container registry:
# Debian bookworm by debootstrap, plus a copy of this machine's Python 3.12 in /usr/local.
#
#   build-base.sh [TAG]            default tag: runbook-runner/base:python312
#
#   RUNBOOK_PYTHON312              the python3.12 to copy; default: the first one found on this machine
#   RUNBOOK_CA_BUNDLE              PEM file whose CAs the image shall trust; default: SSL_CERT_FILE
#   DEBIAN_MIRROR                  default: http://deb.debian.org/debian
#
# Does nothing when TAG exists and was made by this very script, Python and CA bundle. Needs root, docker, debootstrap.
set -euo pipefail

TAG=${1:-runbook-runner/base:python312}
MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
CA_BUNDLE=${RUNBOOK_CA_BUNDLE-${SSL_CERT_FILE:-}}
LABEL=runbook.base
# What CPython's extension modules link against, and what HTTPS needs.
PACKAGES=ca-certificates,libssl3,libffi8,libsqlite3-0,libbz2-1.0,liblzma5,libreadline8,libncursesw6,libuuid1,libexpat1,zlib1g

fail() {
    echo "build-base.sh: $1" >&2
    exit 1
}

require() {
    command -v "$1" >/dev/null || fail "$1 is missing. Install it with: apt-get install $2"
}

find_python() {
    local candidate
    for candidate in "${RUNBOOK_PYTHON312:-}" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.12*/bin/python3.12 \
        "$(command -v python3.12 || true)" /usr/local/bin/python3.12 /opt/python*/bin/python3.12; do
        # A pyenv shim is on PATH without working, so it must answer.
        if [ -n "$candidate" ] && "$candidate" -c 'import ensurepip, ssl' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "no working Python 3.12 found to copy. Name one with RUNBOOK_PYTHON312=/path/to/python3.12."
}

content_digest() {
    {
        cat "${BASH_SOURCE[0]}"
        "$PYTHON" -VV
        echo "$MIRROR"
        if [ -n "$CA_BUNDLE" ]; then cat "$CA_BUNDLE"; fi
    } | sha256sum | cut -c1-16
}

make_debian() {
    debootstrap --variant=minbase --include="$PACKAGES" bookworm "$ROOT" "$MIRROR" >"$LOG" 2>&1 ||
        { tail -20 "$LOG" >&2; fail "debootstrap failed; its whole output is in $LOG."; }
    cat >"$ROOT/etc/apt/sources.list" <<LIST
deb $MIRROR bookworm main
deb $MIRROR bookworm-updates main
deb $MIRROR-security bookworm-security main
LIST
    # As the official slim images do: later packages bring no documentation, apt keeps no downloads.
    printf 'path-exclude /usr/share/%s/*\n' doc man info locale >"$ROOT/etc/dpkg/dpkg.cfg.d/slim"
    echo 'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb || true"; };' >"$ROOT/etc/apt/apt.conf.d/slim"
    rm -rf "$ROOT"/usr/share/{doc,man,info,locale}/* "$ROOT"/var/lib/apt/lists/* "$ROOT"/var/cache/apt/* \
        "$ROOT"/var/log/*
}

copy_python() {
    local prefix lib
    prefix=$("$PYTHON" -c 'import sys; print(sys.base_prefix)')
    mkdir -p "$ROOT"/usr/local/{bin,lib,include}
    cp -L "$prefix/bin/python3.12" "$ROOT/usr/local/bin/"
    tar -C "$prefix/lib" -c --exclude=site-packages --exclude=dist-packages --exclude=test --exclude=tests \
        --exclude=idlelib --exclude=tkinter --exclude=turtledemo --exclude=turtle.py --exclude='config-3.12-*' \
        --exclude='_tkinter*' --exclude='_test*.so' --exclude='xxlimited*.so' --exclude='*.opt-[12].pyc' python3.12 |
        tar -C "$ROOT/usr/local/lib" -x
    cp -R "$prefix/include/python3.12" "$ROOT/usr/local/include/"
    for lib in "$prefix"/lib/libpython3.12.so* "$prefix"/lib/*-linux-gnu/libpython3.12.so*; do
        if [ -e "$lib" ]; then cp -P "$lib" "$ROOT/usr/local/lib/"; fi
    done
    mkdir -p "$ROOT/usr/local/lib/python3.12/site-packages"
    chown -R 0:0 "$ROOT/usr/local"
    ln -sf python3.12 "$ROOT/usr/local/bin/python3"
    ln -sf python3 "$ROOT/usr/local/bin/python"
    chroot "$ROOT" ldconfig
    chroot "$ROOT" /usr/local/bin/python3 -c 'import bz2, ctypes, lzma, readline, sqlite3, ssl, uuid, zlib' ||
        fail "the copied Python does not run on Debian bookworm; it was probably built for another system."
    chroot "$ROOT" /usr/local/bin/python3 -m ensurepip >/dev/null
    ln -sf pip3 "$ROOT/usr/local/bin/pip"
}

trust_bundle() {
    "$PYTHON" - "$CA_BUNDLE" "$ROOT" <<'PYTHON'
import re, sys
from pathlib import Path

bundle, root = Path(sys.argv[1]), Path(sys.argv[2])
PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
known = set(PEM.findall((root / "etc/ssl/certs/ca-certificates.crt").read_text()))
own = [pem for pem in PEM.findall(bundle.read_text()) if pem not in known]
for number, pem in enumerate(own):
    (root / f"usr/local/share/ca-certificates/runbook-{number:03}.crt").write_text(pem + "\n")
PYTHON
    chroot "$ROOT" update-ca-certificates >>"$LOG" 2>&1
}

if [ "$(id -u)" != 0 ]; then fail "must run as root (debootstrap and chroot need it)."; fi
require docker docker.io
require debootstrap debootstrap
if [ -n "$CA_BUNDLE" ] && [ ! -r "$CA_BUNDLE" ]; then fail "the CA bundle $CA_BUNDLE can't be read."; fi
PYTHON=$(find_python)
DIGEST=$(content_digest)
if [ "$(docker image inspect --format "{{index .Config.Labels \"$LABEL\"}}" "$TAG" 2>/dev/null)" = "$DIGEST" ]; then
    echo "$TAG is up to date."
    exit 0
fi

SCRATCH=$(mktemp -d)
trap 'rm -rf --one-file-system "$SCRATCH"' EXIT
ROOT=$SCRATCH/root
LOG=${TMPDIR:-/tmp}/runbook-build-base.log
echo "Building $TAG from Debian bookworm and $PYTHON; this takes about a minute."
make_debian
copy_python
if [ -n "$CA_BUNDLE" ]; then trust_bundle; fi
tar -C "$ROOT" -c . | docker import \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'ENV LANG=C.UTF-8' \
    --change 'CMD ["python3"]' \
    --change "LABEL $LABEL=$DIGEST" \
    - "$TAG" >/dev/null
echo "$TAG is ready ($(docker image inspect --format '{{.Size}}' "$TAG" | awk '{printf "%.0f MB", $1 / 1e6}'))."
