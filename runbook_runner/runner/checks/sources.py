"""Runner, checks: the git repositories that a runbook declares for its checks, as far as they can be judged without a
network: a runbook chooses the address, so it is held against what its user lets it reach and read."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from runbook_runner.core.criteria import ChecksConfig, CheckSource
from runbook_runner.core.disk.git_index import is_of_user
from runbook_runner.core.disk.repository import clone_of, is_hidden
from runbook_runner.core.errors import InputError
from runbook_runner.core.network.addresses import AllowList, is_public, parse_rule
from runbook_runner.core.spec import Network, RunSpec
from runbook_runner.runbook.criteria.check_sources import FILE, HTTPS, MOST, secret_of, wrong_in, wrong_name
from runbook_runner.trajectory.folders import CHECKS

_PACK: Final = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})\.pack")
_BARE_HINT: Final = "A bare clone whose files are in the runbook's repository (`git add` it) is used."
_FOLDER_HINT: Final = "Put runbook and repository into a folder of their own, or give an https address."


@dataclass(frozen=True)
class GitSource:
    """A check source that this run may fetch."""

    name: str
    url: str
    """An https address, or the path of `folder`."""
    ref: str | None
    """A branch, a tag, a name under `refs/` or a whole commit id; `None`: what the repository's HEAD says."""
    secret: str | None
    """The variable whose value opens it."""
    where: str | None
    """`file:line` of the declaration."""
    host: str = ""
    """With its port; empty for a repository of this machine."""
    hosts: tuple[str, ...] = ()
    """Which the user has typed: private addresses must be among them."""
    folder: Path | None = None
    """Real path of a repository of this machine."""
    pack: Path | None = None
    """What the run that is replayed has kept of it; then nothing is fetched."""
    number: str = ""
    """The id of what is in the pack."""

    def wrong(self, message: str, hint: str | None = None) -> InputError:
        return InputError(f"The check source {self.name} {message}", where=self.where, hint=hint)


def plan_sources(
    spec: RunSpec, hosts: Sequence[str] = (), folder: Path | None = None, document: str | None = None
) -> tuple[GitSource, ...]:
    """hosts: those that the user has typed. folder: the runbook's; `None` when it came from stdin or an address.
    document: its name, for messages. Raises InputError."""
    checks = spec.criteria.checks
    where = f"{document}:{checks.line}" if document and checks.line else document
    if len(checks.sources) > MOST:
        raise InputError(f"There are more than {MOST} check sources.", where=where)
    found: dict[str, GitSource] = {}
    for declared in checks.sources:
        source = _named(declared, spec, where)
        if source.name.lower() in found:
            raise source.wrong("is declared twice.", "Each needs a name of its own.")
        found[source.name.lower()] = _placed(source, spec.network, tuple(hosts), folder, document)
    return tuple(found.values())


def local_sources(checks: ChecksConfig, folder: Path | None, document: str | None = None) -> tuple[GitSource, ...]:
    """Those in folders, which came with the runbook. folder, document, errors: as of `plan_sources`."""
    where = f"{document}:{checks.line}" if document and checks.line else document
    bare = (_bare(declared, where) for declared in checks.sources)
    return tuple(_in_folder(source, folder, document) for source in bare if not HTTPS.fullmatch(source.url))


def kept_sources(spec: RunSpec, folder: Path) -> tuple[GitSource, ...]:
    """Those of which a recorded run has kept what it had. folder: the trajectory's. Raises InputError."""
    found = []
    for declared in spec.criteria.checks.sources:
        source = _bare(declared)
        for pack in sorted((folder / CHECKS).glob(f"{source.name}-*.pack")):
            if match := _PACK.fullmatch(pack.name.removeprefix(f"{source.name}-")):
                found.append(replace(source, pack=pack, number=match[1]))
                break
    return tuple(found)


def pack_name(source: GitSource, number: str) -> str:
    return f"{source.name}-{number}.pack"


def _named(declared: CheckSource, spec: RunSpec, where: str | None) -> GitSource:
    source = _bare(declared, where)
    if wrong := wrong_in(declared, spec.secrets):
        raise InputError(wrong.message, where=where, hint=wrong.hint)
    secret = secret_of(declared, spec.secrets)
    return replace(source, secret=secret.env) if secret else source


def _bare(declared: CheckSource, where: str | None = None) -> GitSource:
    if wrong := wrong_name(declared):
        raise InputError(wrong.message, where=where, hint=wrong.hint)
    return GitSource(declared.name, declared.url, declared.ref, None, where)


def _placed(
    source: GitSource, network: Network, hosts: tuple[str, ...], folder: Path | None, document: str | None
) -> GitSource:
    if match := HTTPS.fullmatch(source.url):
        host = match["server"].lower()
        port = int(match["port"] or 443)
        _require_reachable(source, network, hosts, host, port)
        place = host + (f":{port}" if match["port"] else "")
        url = f"https://{place}{match['path']}"
        return replace(source, url=url, host=f"{host}:{port}", hosts=hosts)
    return _in_folder(source, folder, document)


def _in_folder(source: GitSource, folder: Path | None, document: str | None) -> GitSource:
    file = FILE.fullmatch(source.url)
    path = unquote(file["path"]) if file else source.url
    real = _in_project(source, path, folder, document)
    return replace(source, url=str(real), folder=real)


def _require_reachable(source: GitSource, network: Network, hosts: tuple[str, ...], host: str, port: int) -> None:
    """Before the name is looked up. The proxy that git goes through judges the addresses that it has then."""
    try:
        rule = parse_rule(f"{host}:{port}")
    except InputError as error:
        raise source.wrong("names no host.", error.message) from error
    if rule.network and not is_public(address := ip_address(host.strip("[]"))):
        decision = AllowList(hosts).admits_address(address, port, by_name=True)
        if not decision.allowed:
            raise source.wrong(f"can't be fetched: {decision.reason}.", private_hint(host))
    if network.policy == "full":
        return
    allowed = AllowList(network.allow_hosts if network.policy == "allowlist" else ())
    if not allowed.admits_host(host, port).allowed:
        message = f"is at {host}, which the network policy {network.policy} does not allow."
        raise source.wrong(message, f"--network allowlist --allow-host {host} allows it.")


def private_hint(host: str) -> str:
    return f"If you mean it: --network allowlist --allow-host {host}, and --allow-host with its address."


def _in_project(source: GitSource, path: str, folder: Path | None, document: str | None) -> Path:
    """The real path of a repository that may have come with the runbook."""
    if folder is None:
        raise source.wrong("is a path, and the runbook was not loaded from a folder.", "Give an https address.")
    try:
        real, top = Path(os.path.realpath(folder / path)), clone_of(folder)
    except ValueError as error:
        raise source.wrong("has a path that can't be.") from error
    if top is None:
        message = f"is a path, and the runbook lies in {folder.absolute()}, which is no project."
        raise source.wrong(message, _FOLDER_HINT)
    if not real.is_relative_to(top):
        raise source.wrong(f"is outside of the runbook's project {top}.", _FOLDER_HINT)
    if real == top:
        message = "is the runbook's own repository: what else is in it may be yours, and not the runbook's."
        raise source.wrong(message, _FOLDER_HINT)
    if is_hidden(real, top):
        raise source.wrong("is a hidden folder, which may be yours, and not the runbook's.", _FOLDER_HINT)
    own = [real / ".git"] if os.path.isdir(real / ".git") else []  # noqa: PTH112 - it never raises
    if document and any(is_of_user(part, Path(os.path.realpath(document))) for part in (real, *own)):
        raise source.wrong("did not come with the runbook's repository, so it may be yours.", _BARE_HINT)
    return real
