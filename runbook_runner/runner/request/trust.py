"""Runner: what the user has trusted: contents, by digest, in the user's own data folder.

A project offers agents and snapshots, a runbook wishes for variables of the environment. Each is an `Offer` with the
digest of the very content that would be used, so a changed byte is another offer, and a copy elsewhere the same one.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from runbook_runner.core.clock import now_iso
from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.files import is_file, make_folder, write_atomically
from runbook_runner.runner.request.request import Ask, Question

YES = ("y", "yes")


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
        return f"{self.what} {self.name} in {self.where}"

    @property
    def key(self) -> str:
        return hashlib.sha256("\0".join((self.what, self.name, self.digest)).encode()).hexdigest()


class TrustStore:
    """One file for each trusted offer; its name is all that counts."""

    def __init__(self, data: Path):
        """data: the user's data folder."""
        self._folder = data / "trust"

    def knows(self, offer: Offer) -> bool:
        return is_file(self._file(offer))

    def add(self, offer: Offer) -> None:
        """Raises NotReadyError when it can't be written."""
        try:
            make_folder(self._folder)
            self._folder.chmod(0o700)
            write_atomically(self._file(offer), json.dumps({**asdict(offer), "since": now_iso()}) + "\n", mode=0o600)
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

    def agreed_variables(self, source: str, text: str, names: Sequence[str]) -> bool:
        """Whether the runbook with this text may have these variables of the environment. source: its name."""
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        offers = [Offer("variable", name, source, digest) for name in names]
        wish = f"The runbook {source} wants from your environment: {', '.join(names)}."
        return self.agreed(offers, f"{wish} Give this to it, whenever it has this content?")

    def require(self, offers: Iterable[Offer], use: str) -> None:
        """use: what would be done with them, for people. Raises NotReadyError for the first that is not trusted."""
        for offer in offers:
            if not self.agreed([offer], f"This would {use}: the {offer}. Trust this content?"):
                raise NotReadyError(
                    f"This would {use}, and you have not trusted its content: the {offer}.",
                    hint=f"Look at it, then type `runbook trust {offer.where}`; --trust trusts it for one command.",
                )
