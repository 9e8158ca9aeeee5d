"""Runner, checks: git on this machine, for a repository that others have named. It gets a configuration, an environment
and a folder of its own, talks to one host alone, and ends within bounds of time and size."""

import base64
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote

import certifi

from runbook_runner.core.apart.process import OnCancel
from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.disk.walk import files_below
from runbook_runner.core.errors import InputError, NotReadyError, RunbookError
from runbook_runner.core.events import Event, NetworkConnection
from runbook_runner.core.programs import SYSTEM_PATH, find_program, search_path
from runbook_runner.core.settings import Settings
from runbook_runner.core.text import printable_output
from runbook_runner.runner.checks.local import fill_stand_in, make_repository
from runbook_runner.runner.checks.sources import GitSource, private_hint
from runbook_runner.sandbox.temp_folders import beside_folder

if TYPE_CHECKING:
    from runbook_runner.sandbox.network.egress_proxy import EgressProxy

MOST_BYTES: Final = 256 << 20
"""Of what a clone brings, packed, and of its files."""
_MOST_SAID: Final = 16 << 20
"""Bytes that git may print of references and names."""
_PROBE_S: Final = 60.0
_LOOK_S: Final = 60.0
_USER: Final = "x-access-token"  # GitHub's and GitLab's; others take any
_HOOKS: Final = ("core.hooksPath=/dev/null", "core.fsmonitor=false", "core.attributesFile=/dev/null")
_SETTINGS: Final = (
    *_HOOKS,
    "credential.helper=",
    "http.emptyAuth=false",  # no ticket of Kerberos
    "http.followRedirects=false",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=30",
    "http.sslVerify=true",
    "protocol.allow=never",
    "fetch.recurseSubmodules=false",
    "fetch.unpackLimit=1",  # one pack, so that a bound of a file's size bounds all
    "transfer.bundleURI=false",
    "core.bigFileThreshold=8m",  # larger ones are never whole in memory
    "pack.threads=1",
    "gc.auto=0",
    "maintenance.auto=false",
)
# By a shell, as no limit can be set between fork and exec where threads run. The first is in units of 512 bytes. The
# other, in kB, macOS does not know: a pack of a few kB may hold a difference that makes an object of many GB.
_LIMITED: Final = 'ulimit -f "$1"; ulimit -v 2000000 2>/dev/null; shift; exec "$@"'
_BLOCK: Final = 512
_MOST_TOLD: Final = 16 << 10
_SHA1: Final = 40
_PART_OF_ID: Final = re.compile(r"[0-9a-f]{4,63}")
_ID: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# What git says in the language C.
_ASKS: Final = (
    "could not read Username",
    "could not read Password",
    "Authentication failed",
    "error: 401",
    "error: 403",
)
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_ABSENT: Final = ("not found", "error: 404", "not our ref", "unadvertised object", "couldn't find remote ref")


@dataclass(frozen=True)
class Found:
    id: str
    """What to fetch: of an annotated tag the tag's."""
    commit: str


class Git:
    """One repository and the folder that it is fetched into."""

    def __init__(self, source: GitSource, folder: Path, url: str, options: Mapping[str, str], on_cancel: OnCancel):
        """folder: of this object alone. url: as git gets it. options: of git, which may be secret."""
        self._source = source
        self._folder = folder
        self._repository = folder / "clone.git"
        self._url = url
        self._options = options
        self._on_cancel = on_cancel
        self._network = ["protocol.file.allow=always"]
        self._proxy: EgressProxy | None = None
        self._connection: NetworkConnection | None = None
        """The last one that was refused or not made."""

    @contextmanager
    def behind_proxy(self) -> Iterator[Self]:
        """It connects to the source's host, and to none of its private addresses but those that the user has typed.
        Raises InputError, OSError."""
        from runbook_runner.sandbox.network.egress_proxy import EgressProxy  # asyncio, for these runs only

        self._proxy = EgressProxy((self._source.host, *self._source.hosts), self._note_connection)
        port = self._proxy.start_on_loopback()
        bundle = Settings.load().ca_bundle
        folder = None if bundle else os.environ.get("SSL_CERT_DIR")
        roots = f"http.sslCAPath={folder}" if folder else f"http.sslCAInfo={bundle or certifi.where()}"
        self._network = ["protocol.https.allow=always", f"http.proxy=http://127.0.0.1:{port}", roots]
        try:
            yield self
        finally:
            self._proxy.stop()

    def probe(self) -> Found:
        """Raises InputError and NotReadyError: it can't be reached, does not open, or has no such reference."""
        ref = self._source.ref
        names = _names(ref)
        make_repository(self._repository)
        asked = [pattern for name in names for pattern in (name, f"{name}^{{}}")] or ["HEAD"]
        said = self._run("ls-remote", "--", self._url, *asked, within=_PROBE_S)
        lines = (line.partition("\t") for line in said.read_text("utf-8", "replace").splitlines())
        ids = {name: number for number, _, name in lines}
        if ref and not names:
            self.fetch(ref, _PROBE_S)  # no list of a server has all its commits
            return Found(ref, ref)
        for name in names:
            if name in ids:
                return Found(ids[name], ids.get(f"{name}^{{}}", ids[name]))
        what = f"has no branch or tag {ref!r}" if ref else "has no commit yet"
        hint = "A commit is named by all of its 40 digits." if _PART_OF_ID.fullmatch(ref or "") else None
        raise self._source.wrong(f"{what}: {self._source.url}.", hint)

    def fetch(self, number: str, timeout_s: float) -> None:
        make_repository(self._repository, sha256=len(number) > _SHA1)
        self._run("fetch", "--quiet", "--depth=1", "--no-tags", "--", self._url, number, within=timeout_s)

    def bring(self, number: str, timeout_s: float) -> None:
        """Into the folder, from where it is or from what was kept. Raises as `probe`, and OSError."""
        if self._source.pack is None:
            self.fetch(number, timeout_s)
            return
        open_regular(self._source.pack).close()
        make_repository(self._repository, sha256=len(number) > _SHA1)
        self._run("index-pack", "--stdin", within=_LOOK_S, most=MOST_BYTES, stdin=self._source.pack)

    def pack(self) -> Path:
        """What it has brought."""
        return next((self._repository / "objects/pack").glob("pack-*.pack"))

    def tree(self, number: str) -> bytes:
        """What `git ls-tree` prints of all files, each with its size and ended by NUL."""
        listed = self._run("ls-tree", "-r", "-z", "-l", "--full-tree", "--end-of-options", number, within=_LOOK_S)
        return listed.read_bytes()

    def contents(self, objects: list[str]) -> Path:
        """A file with what `git cat-file --batch` prints of them."""
        asked = self._folder / "asked"
        asked.write_text("".join(f"{number}\n" for number in objects))
        return self._run("cat-file", "--batch", within=_LOOK_S, most=MOST_BYTES + _MOST_SAID, stdin=asked)

    def _run(
        self, command: str, *arguments: str, within: float, most: int | None = None, stdin: Path | None = None
    ) -> Path:
        """Returns the file with what it has printed. Raises NotReadyError, InputError and CancelledError."""
        out, err = self._folder / f"{command}.out", self._folder / f"{command}.err"
        most = most or (MOST_BYTES if command == "fetch" else _MOST_SAID)
        with Path(stdin or os.devnull).open("rb") as given, out.open("wb") as printed, err.open("wb") as said:
            code = self._ended([*self._limited(most), command, *arguments], within, given, printed, said)
        if code:
            with err.open("rb") as file:
                file.seek(max(0, err.stat().st_size - _MOST_TOLD))
                raise self._problem(code, most, file.read().decode("utf-8", "replace"))
        return out

    def _limited(self, most: int) -> list[str]:
        program = find_program("git")
        if program is None:
            raise NotReadyError("git is not installed; it fetches the check sources.", hint="Install git.")
        words = [word for setting in (*_SETTINGS, *self._network) for word in ("-c", setting)]
        return ["/bin/sh", "-c", _LIMITED, "sh", str(most // _BLOCK), program, *words]

    def _ended(self, argv: list[str], within: float, *streams: object) -> int | None:
        stdin, stdout, stderr = streams
        process = subprocess.Popen(
            argv,
            stdin=stdin,  # type: ignore[call-overload]
            stdout=stdout,
            stderr=stderr,
            cwd=self._folder,
            env=self._environment(),
            start_new_session=True,
        )

        def end() -> None:
            """Also of what git has started."""
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

        try:
            with self._on_cancel(end):
                return int(process.wait(within))
        except subprocess.TimeoutExpired:
            raise self._not_ready(f"takes longer than {within:g} s.") from None
        finally:
            end()
            process.wait()

    def _environment(self) -> dict[str, str]:
        """Nothing of the user's: no key, no proxy, no `GIT_…`, no home."""
        options = enumerate(self._options.items())
        given = {
            f"GIT_CONFIG_{part}_{n}": text
            for n, pair in options
            for part, text in zip(("KEY", "VALUE"), pair, strict=True)
        }
        return {
            "PATH": search_path() or SYSTEM_PATH,
            "HOME": str(self._folder),
            "TMPDIR": str(self._folder),
            "LC_ALL": "C",
            "GIT_DIR": str(self._repository),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "",
            "GIT_ALLOW_PROTOCOL": "file" if self._source.folder else "https",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_CONFIG_COUNT": str(len(self._options)),
            **given,
        }

    def _problem(self, code: int | None, most: int, said: str) -> RunbookError:
        """most: bytes that a file could have. said: the end of what git has printed on stderr; what a server says in it
        is left out."""
        lines = [line for line in said.splitlines() if line.strip() and not line.startswith("remote:")]
        text, url, secret = "\n".join(lines), self._source.url, self._source.secret
        if any(path.stat().st_size >= most - _BLOCK for path in files_below(self._folder)):
            return self._source.wrong(f"is larger than {most >> 20} MB.", "Keep a smaller one for the checks.")
        if self._proxy:
            self._proxy.stop()  # it has told of all connections then
        if (flow := self._connection) and not flow.allowed:
            return self._source.wrong(f"at {url} can't be fetched: {flow.reason}.", private_hint(flow.host))
        if flow:
            return self._not_ready(f"at {url} can't be fetched: {flow.host}: {flow.reason}.")
        if any(sign in text for sign in _ASKS):
            if secret and self._options:
                return self._not_ready(
                    f"at {url} does not open with {secret}.", f"Renew {secret}, or its rights there."
                )
            hint = f"Grant it with --secret {secret}." if secret else "Declare a secret, and name it with `secret:`."
            return self._not_ready(f"at {url} wants a password, or is not there.", hint)
        if any(f"returned error: {status}" in text for status in _REDIRECTS):
            return self._source.wrong(
                f"at {url} leads elsewhere, which is not followed.", "Give the address it leads to."
            )
        if any(sign in text for sign in _ABSENT):
            return self._source.wrong(f"is not at {url}, or lacks what was asked for: {_last(lines)}", None)
        return self._not_ready(f"at {url} can't be fetched: {_last(lines) or f'git ended with {code}'}")

    def _not_ready(self, message: str, hint: str | None = None) -> NotReadyError:
        source = self._source
        return NotReadyError(f"The check source {source.name} {message}", where=source.where, hint=hint)

    def _note_connection(self, event: Event) -> None:
        if isinstance(event, NetworkConnection) and event.reason and not event.bytes_received:
            self._connection = event


@contextmanager
def open_git(source: GitSource, work: Path, value: str | None, on_cancel: OnCancel) -> Iterator[Git]:
    """work: that of the run's claim. value: of the source's secret. Raises CancelledError, InputError and
    NotReadyError."""
    try:
        with beside_folder(work) as folder:
            if source.pack:
                yield Git(source, folder, "", {}, on_cancel)
            elif source.folder:
                stand_in = folder / "stand-in.git"
                make_repository(stand_in)
                fill_stand_in(source, stand_in, on_cancel)
                yield Git(source, folder, f"file://{quote(str(stand_in))}", {}, on_cancel)
            else:
                options = _credential(source, value) if value else {}
                with Git(source, folder, source.url, options, on_cancel).behind_proxy() as git:
                    yield git
    except OSError as error:
        message = f"The check source {source.name} can't be fetched: {error.strerror}."
        raise NotReadyError(message, where=source.where) from error


def missing_locally(sources: Iterable[GitSource]) -> Iterator[RunbookError]:
    """Yields why each source that is a folder of this machine can't be had; the others need a network."""
    for source in sources:
        if source.folder:
            try:
                with TemporaryDirectory() as folder, open_git(source, Path(folder) / "work", None, _never) as git:
                    git.probe()
            except (InputError, NotReadyError) as error:
                yield error


def _never(stop: Callable[[], None]) -> AbstractContextManager[None]:
    return nullcontext()


def _credential(source: GitSource, value: str) -> dict[str, str]:
    word = base64.b64encode(f"{_USER}:{value}".encode("utf-8", "surrogateescape")).decode()
    return {f"http.https://{source.host}/.extraHeader": f"Authorization: Basic {word}"}


def _names(ref: str | None) -> tuple[str, ...]:
    """Under which names a server may know it; none for the id of a commit."""
    if ref in (None, "HEAD"):
        return ("HEAD",)
    if _ID.fullmatch(ref):
        return ()
    return (ref,) if ref.startswith("refs/") else (f"refs/heads/{ref}", f"refs/tags/{ref}")


def _last(lines: list[str]) -> str:
    return printable_output(lines[-1].removeprefix("fatal: "))[:300] if lines else ""
