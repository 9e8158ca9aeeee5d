"""Docker sandbox: the shell scripts that start a command in a container and that end everything in it."""

import math
from collections.abc import Sequence
from typing import Final

from runbook_runner.core import settings

_LATER_S: Final = 31
"""After its deadline a command ends by itself, when the runner has died. While the runner ends it, it must not: when a
command ends while another does not come up, containerd's shim waits for that one, and so does who would remove the
container (1.6, `checkProcesses`)."""

# For an image with a user of its own, whom the engine gives `/` as home when the image has none: a home that can be
# written to, and git, which refuses folders of others. /app belongs to root, and all may write there.
_SETTLED: Final = f"""\
if [ ! -w "${{HOME:-/}}" ] || [ "$HOME" = / ]; then
    export HOME={settings.PRIVATE}/home
    mkdir -p "$HOME"
fi
[ "$(id -u)" = 0 ] || export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
"""

# $1 working folder, $2 file that is stdin or empty, $3 deadline, $4 grace, $5 open files, $6 kilobytes of data of each
# process or empty, $7 not empty when an archive of files comes in first; then the command. `timeout` ends
# the command when this process, which enforces the deadline, has died. Open files are not limited on
# the container: an engine whose own limit is lower could not start it.
_WRAPPER: Final = f"""\
if [ -n "$7" ]; then tar -xpf - -C / && exec </dev/null || exit 126; fi
{_SETTLED}\
cd -- "$1" || exit 126
if [ -n "$2" ]; then exec <"$2" || exit 126; rm -f -- "$2"; fi
deadline=$3 grace=$4
ulimit -n "$5" 2>/dev/null
if [ -n "$6" ]; then ulimit -d "$6" 2>/dev/null; fi
shift 7
command -v timeout >/dev/null 2>&1 && exec timeout -k "$grace" "$deadline" "$@"
exec "$@"
"""

# PID 1 is a shell (see container.py) and its `sleep` a child of it: root's, and the oldest such, whose id is the
# lowest, because ids wrap to 300 and it is never reused. Once that was killed, PID 1 is a `sleep` itself. No other
# process is spared: an agent that is not root can have none like that, of a root agent an orphan may look like it.
# A process whose first thread has ended looks like a zombie, but its other threads run on. Its name, in parentheses in
# /proc/PID/stat (proc(5)), may hold anything, ends of lines too. One that starts its successor and ends at once may be
# missed, but for the last id that was given (proc_loadavg(5)).
SCAN: Final = r"""
kept() {
    while read -r key value others; do
        case "$key $value" in
            "Name: sleep" | "PPid: 1") ;;
            Name:* | PPid:*) return 1 ;;
            Uid:*) set -- $value $others; [ "$*" = "0 0 0 0" ]; return ;;
        esac
    done <"$1/status"
    return 1
}
keep=
read -r line </proc/1/stat
case $line in "1 (sleep)"*) keep=1 ;; esac
for entry in /proc/[0-9]*; do
    id=${entry#/proc/}
    if [ -z "$keep" ] || [ "$id" -lt "$keep" ]; then
        if kept "$entry" 2>/dev/null; then keep=$id; fi
    fi
done
runs() {
    set -- "$1" "$1"/task/*
    [ $# -gt 2 ] && return
    stat=
    { while read -r line; do stat="$stat$line "; done <"$1/stat"; } 2>/dev/null
    case ${stat##*) } in "" | [ZX]*) return 1 ;; esac
}
scan() {
    left=
    read -r before </proc/loadavg
    for entry in /proc/[0-9]*; do
        id=${entry#/proc/}
        case $id in 1 | "$keep" | $$) continue ;; esac
        if runs "$entry"; then left="$left $id"; fi
    done
    read -r after </proc/loadavg
    [ -n "$left" ] || [ "${before##* }" != "${after##* }" ]
}
"""

# $1: tenths of a second to wait for the end after SIGTERM.
ASK: Final = r"""
scan && kill -TERM $left 2>/dev/null
tenths=0
while scan && [ "$tenths" -lt "$1" ]; do
    sleep 0.2
    tenths=$((tenths + 2))
done
echo asked
"""

# Builtins only: where something forks without end no process can be added. Stopping before killing outruns it; if not,
# all are killed at once, the `sleep` of PID 1 too.
END: Final = r"""
rounds=0
while scan && [ "$rounds" -lt 200 ]; do
    kill -STOP $left 2>/dev/null
    kill -KILL $left 2>/dev/null
    rounds=$((rounds + 1))
    [ "$rounds" -lt 50 ] || kill -KILL -1 2>/dev/null
done
if scan; then echo left; else echo ended; fi
"""


def wrapped(
    argv: Sequence[str],
    *,
    cwd: str,
    stdin_path: str,
    deadline_s: float,
    open_files: int,
    memory_each: int | None,
    unpacks: bool,
) -> list[str]:
    """Returns the command line that runs argv. memory_each: bytes of data that each process may have; `None`: the
    engine limits all of them together."""
    grace = math.ceil(settings.GRACE_S)
    later = math.ceil(deadline_s + settings.GRACE_S) + _LATER_S
    memory = str(memory_each >> 10) if memory_each else ""
    own = [cwd, stdin_path, str(later), str(grace), str(open_files), memory, "files" if unpacks else ""]
    return ["sh", "-c", _WRAPPER, "runbook", *own, *argv]


def settled(argv: Sequence[str]) -> list[str]:
    """Returns the command line that runs argv with the home that `wrapped` gives it."""
    return ["sh", "-c", f'{_SETTLED}exec "$@"', "runbook", *argv]
