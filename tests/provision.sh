#!/usr/bin/env bash
# Gets a Debian machine ready for the tests that need real parts: a Docker engine that runs, and a base image.
#
#   tests/provision.sh      as root, with or without systemd; does only what is missing; safe to run again
#
# Without a container registry the base image is built from a Debian mirror (snapshots/airgapped/README.md).
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ENGINE_LOG=${TMPDIR:-/tmp}/runbook-dockerd.log
ROOTLESS_USER=runbook-rootless
REGISTRY_BASE=python:3.12-slim-bookworm

say() { echo "provision.sh: $*"; }
fail() { say "$*" >&2; exit 1; }

install_missing() {
    local wanted=()
    command -v docker >/dev/null && command -v dockerd >/dev/null || wanted+=(docker.io)
    command -v iptables >/dev/null || wanted+=(iptables)
    command -v debootstrap >/dev/null || wanted+=(debootstrap)
    command -v bwrap >/dev/null || wanted+=(bubblewrap)
    command -v ps >/dev/null || wanted+=(procps)
    command -v podman >/dev/null || wanted+=(podman catatonit)
    command -v rootlesskit >/dev/null || wanted+=(rootlesskit)
    command -v slirp4netns >/dev/null || wanted+=(slirp4netns)
    command -v newuidmap >/dev/null || wanted+=(uidmap)
    command -v zsh >/dev/null || wanted+=(zsh)
    command -v fish >/dev/null || wanted+=(fish)
    get_packages "${wanted[@]}"
    # Programs that tests start themselves: their packages shall start no server of this machine's.
    wanted=()
    command -v docker-registry >/dev/null || wanted+=(docker-registry)
    [ -x /usr/sbin/sshd ] || wanted+=(openssh-server)
    without_services get_packages "${wanted[@]}"
}

get_packages() {
    local wanted=("$@")
    if [ ${#wanted[@]} = 0 ]; then return; fi
    command -v apt-get >/dev/null || fail "install these by hand, this is no Debian: ${wanted[*]}"
    say "installing ${wanted[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${wanted[@]}" >/dev/null
}

# invoke-rc.d(8): this file says whether a package may start what it brought.
without_services() {
    local policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ]; then "$@"; return; fi
    trap "rm -f $policy" EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    "$@"
    rm -f "$policy"
    trap - EXIT
}

engine_answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# Whose engine the tests start themselves. Where nothing sets the device's mode as udev does, it is root's alone.
provide_rootless_user() {
    id "$ROOTLESS_USER" >/dev/null 2>&1 || useradd --no-create-home --shell /usr/sbin/nologin "$ROOTLESS_USER"
    if [ -c /dev/net/tun ] && ! setpriv --reuid="$ROOTLESS_USER" --regid="$ROOTLESS_USER" --clear-groups \
        test -w /dev/net/tun; then
        chgrp "$ROOTLESS_USER" /dev/net/tun
        chmod g+rw /dev/net/tun
    fi
}

start_engine() {
    if engine_answers; then return; fi
    say "starting dockerd; its log is $ENGINE_LOG"
    # The package's own service may be on its way up; a second daemon would only fail on its pid file.
    if [ -d /run/systemd/system ]; then systemctl start docker || true; fi
    for _ in 1 2 3 4 5 6; do
        if engine_answers; then return; fi
        sleep 0.5
    done
    # A pid file of a daemon that is gone keeps a new one from starting.
    if [ -f /var/run/docker.pid ] && ! kill -0 "$(cat /var/run/docker.pid)" 2>/dev/null; then
        rm -f /var/run/docker.pid
    fi
    setsid nohup dockerd >"$ENGINE_LOG" 2>&1 </dev/null &
    for _ in $(seq 120); do
        if engine_answers; then return; fi
        sleep 0.5
    done
    tail -20 "$ENGINE_LOG" >&2
    fail "dockerd does not answer after a minute; the end of its log is above."
}

provide_base() {
    if docker image inspect "$REGISTRY_BASE" >/dev/null 2>&1; then return; fi
    if docker image inspect runbook-runner/base:python312 >/dev/null 2>&1; then return; fi
    if timeout 300 docker pull --quiet "$REGISTRY_BASE" >/dev/null 2>&1; then return; fi
    say "no registry answers; building the base image from a Debian mirror"
    "$HERE/../snapshots/airgapped/build-base.sh"
}

if [ "$(id -u)" != 0 ]; then fail "must run as root: it installs packages and starts dockerd."; fi
install_missing
provide_rootless_user || say "no user for a rootless engine: its tests will be skipped"
start_engine
provide_base
say "ready: engine $(docker version --format '{{.Server.Version}}')"
