"""Runner: what the user has trusted: contents, by digest, in the user's own data folder.

A project offers agents and snapshots, a runbook wishes for variables of the environment. Each is an `Offer` with the
digest of the very content that would be used, so a changed byte is another offer, and a copy elsewhere the same one.
"""

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from runbook_runner.agents.base import Agent, Declared
from runbook_runner.agents.registry import declared_agents, find_agent
from runbook_runner.core.authority import only_from_user
from runbook_runner.core.clock import now_iso
from runbook_runner.core.disk.links import offered_in
from runbook_runner.core.disk.private import FILE, private_folder
from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.files import is_file, write_atomically
from runbook_runner.core.spec import InputFile
from runbook_runner.core.text import counted, printable_name
from runbook_runner.runbook.document import Runbook
from runbook_runner.runbook.sources.fixture import load_fixture
from runbook_runner.runner.request.inputs import option_file, read_inputs
from runbook_runner.runner.request.request import Ask, Question
from runbook_runner.runner.request.resolve import sample_inputs
from runbook_runner.runner.request.variables import variables_beside
from runbook_runner.sandbox.images.context import Room
from runbook_runner.sandbox.images.snapshots import (
    Near,
    Snapshot,
    files_digest,
    find_snapshot,
    user_snapshots,
    with_bases,
)

_FOLDER = "trust"
YES = ("y", "yes")
MOST_OFFERS = 10_000
_NAMED = 5  # files of a run that a message names


@dataclass(frozen=True)
class Offer:
    what: str
    """`agent`, `snapshot` or `variable`: in words that a message can use."""
    name: str
    where: str
    """The file or folder it is in, for people; not part of what is trusted."""
    digest: str
    """SHA-256 of its content, in hex."""

    def __str__(self) -> str:
        return f"{self.what} {printable_name(self.name)} in {printable_name(self.where)}"

    @property
    def key(self) -> str:
        return hashlib.sha256("\0".join((self.what, self.name, self.digest)).encode()).hexdigest()


class TrustStore:
    """One file for each trusted offer; its name is all that counts."""

    def __init__(self, data: Path):
        """data: the user's data folder."""
        self._data = data
        self._folder = data / _FOLDER

    def knows(self, offer: Offer) -> bool:
        """Raises NotReadyError when others may have written there."""
        return is_file(self._file(offer)) and bool(private_folder(self._data, _FOLDER))

    def add(self, offer: Offer) -> None:
        """Raises NotReadyError when it can't be written."""
        try:
            private_folder(self._data, _FOLDER)
            write_atomically(self._file(offer), json.dumps({**asdict(offer), "since": now_iso()}) + "\n", mode=FILE)
        except OSError as error:
            raise self._unwritable(error) from error

    def remove(self, offer: Offer) -> None:
        """Raises NotReadyError when it can't be removed."""
        try:
            self._file(offer).unlink(missing_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def _file(self, offer: Offer) -> Path:
        return self._folder / f"{offer.key}.json"

    def _unwritable(self, error: OSError) -> NotReadyError:
        return NotReadyError(f"Trust can't be kept: {error.strerror}.", where=str(self._folder))


@dataclass(frozen=True)
class Trust:
    """How a command finds out whether the user trusts an offer."""

    store: TrustStore
    whole_command: bool = False
    """`--trust`: this command trusts whatever it uses."""
    ask: Ask | None = None
    """`None`: there is nobody to ask."""

    def agreed(self, offers: Sequence[Offer], question: str) -> bool:
        """Whether all are trusted. When somebody can be asked, a yes is kept."""
        new = [offer for offer in offers if not (self.whole_command or self.store.knows(offer))]
        if not new:
            return True
        if self.ask is None or self.ask(Question("trust", question, False, yes_or_no=True)).lower() not in YES:
            return False
        for offer in new:
            self.store.add(offer)
        return True

    def agreed_variables(
        self,
        source: str,
        text: str,
        inputs: Sequence[InputFile],
        beside: Mapping[str, str],
        agent: Agent,
        names: Sequence[str],
    ) -> bool:
        """Whether the runbook with this text may have these variables of the environment. source: its name. inputs: all
        files of this run that came with it: what the agent and the checks do is in them, too. beside: what its `.env`
        sets, such as the host that a token goes to. agent: gets the variables."""
        if agent.declared:
            offer = of_agent(agent.name, agent.declared)
            if not self.agreed([offer], f"The {offer} would get variables of your environment. Trust this content?"):
                return False
        offers = _offers(names, source, text, inputs, beside)
        wish = f"The runbook {source} wants from your environment: {', '.join(names)}."
        return self.agreed(offers, f"{wish} Give this to it, whenever it, its inputs and its .env have this content?")

    def require_agent(self, agent: Agent) -> None:
        """Raises NotReadyError when a project declares it and its content is not trusted."""
        if agent.declared:
            self._require(of_agent(agent.name, agent.declared))

    def require_snapshot(self, snapshot: Snapshot, files: str) -> None:
        """files: the digest of those that an image would be built of. Raises NotReadyError when it is of a project and
        these files are not trusted."""
        if snapshot.origin == "user":
            self._require(of_snapshot(snapshot, files))

    def require_snapshots(self, snapshot: Snapshot, near: Near) -> None:
        """The same for a snapshot and those that it builds on, as they are now. Raises InputError when one can't be
        read."""
        for now in with_bases(snapshot, near):
            if now.origin == "user":
                self.require_snapshot(now, files_digest(now.files()))

    def _require(self, offer: Offer) -> None:
        if not self.agreed([offer], f"The {offer} would be run or built on this machine. Trust this content?"):
            raise NotReadyError(
                f"You have not trusted the {offer}, which would be run or built on this machine.",
                hint=f"Look at it, then type `runbook trust {shlex.quote(offer.where)}`; "
                "--trust trusts what one command uses.",
            )


# --- what there is to trust ----------------------------------------------------------------------------------------


def of_agent(name: str, declared: Declared) -> Offer:
    return Offer("agent", name, str(declared.path), declared.digest)


def of_snapshot(snapshot: Snapshot, files: str) -> Offer:
    """files: their digest."""
    return Offer("snapshot", snapshot.name, str(snapshot.folder), files)


def of_variables(runbook: Runbook, text: str, folder: Path | None) -> list[Offer]:
    """The variables of the environment that a runbook wishes for: without inputs, with its own, and with each fixture
    in its folder. text: the whole file. Raises InputError for inputs that can't be read, and for more than MOST_OFFERS
    of them."""
    names = [secret.env for secret in runbook.frontmatter.secrets if not only_from_user(secret.env)]
    beside = variables_beside(folder, names, lambda _: None)  # a run warns
    own = read_inputs((path.name, path) for path in sample_inputs(runbook, folder)) if names else ()
    runs = dict.fromkeys([(), own, *(_in_examples(folder, own) if names else ())])
    if len(names) * len(runs) > MOST_OFFERS:
        raise InputError(
            f"Its {counted(len(names), 'secret')} and {counted(len(runs), 'set')} of inputs are more than "
            f"{MOST_OFFERS:,} pairs to trust.",
            where=runbook.source,
            hint="`runbook run` with `--secret NAME` grants one to one run.",
        )
    checked = _of_checks(runbook, folder) if names else ()
    return [offer for inputs in runs for offer in _offers(names, runbook.source, text, (*inputs, *checked), beside)]


def _of_checks(runbook: Runbook, folder: Path | None) -> tuple[InputFile, ...]:
    if not runbook.criteria.checks.sources:
        return ()
    from runbook_runner.runner.checks.local import came_along
    from runbook_runner.runner.checks.sources import local_sources

    return came_along(local_sources(runbook.criteria.checks, folder, runbook.source))


def of_project(near: Near, only: Path | None = None) -> Iterator[Offer]:
    """Every agent and snapshot that projects offer near these folders. only: of the snapshots the one in this folder.
    Raises InputError for what can't be read, and for snapshots that are too large together."""
    room = Room(shared=True)
    for name in declared_agents(near):
        if (agent := find_agent(name, near)).declared:
            yield of_agent(agent.name, agent.declared)
    for name in user_snapshots(near):
        if (snapshot := find_snapshot(name, near)).origin == "user" and only in (None, snapshot.folder):
            yield of_snapshot(snapshot, files_digest(snapshot.files(room)))


def _in_examples(folder: Path | None, own: tuple[InputFile, ...]) -> Iterator[tuple[InputFile, ...]]:
    """Those of a run with each of the fixtures `examples/<id>/input.json`. A broken one is skipped: a run with it says
    so. own: the runbook's, for a fixture without files."""
    for example in offered_in(folder, Path("examples")) if folder else ():
        with suppress(InputError):
            fixture = load_fixture(example)
            yield (
                *(read_inputs((file.name, file.path) for file in fixture.files) or own),
                option_file("--input", fixture.source),
            )


def _offers(
    names: Sequence[str], source: str, text: str, inputs: Sequence[InputFile], beside: Mapping[str, str]
) -> list[Offer]:
    """Variables with one set of inputs. Inputs are no offers of their own: one that was harmless with another runbook,
    or another variable, would be trusted with this one. Nor are the values of its `.env`."""
    runbook = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    whole = json.dumps([runbook, sorted((item.name, item.sha256) for item in inputs), sorted(beside.items())])
    digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()
    files = [item.source for item in inputs] + [".env"] * bool(beside)
    if len(files) > _NAMED:  # a fixture is among the last
        files[_NAMED - 2 : -2] = [f"{len(files) - _NAMED:,} more"]
    where = " with ".join(filter(None, (source, ", ".join(files))))
    return [Offer("variable", name, where, digest) for name in names]
