"""Runner, recovery: what a claim keeps of a run's secrets: their names, and one slow hash of all values together, which
tells whether a later process has the same ones and is of no use for guessing one of them alone."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any, Final

from runbook_runner.core.errors import InputError
from runbook_runner.runner.request.variables import UserVariables, user_variables, variables_beside

_MOST_GUESSES: Final = 16


@dataclass(frozen=True)
class Seal:
    names: tuple[str, ...]
    salt: str
    digest: str
    files: tuple[str, ...] = ()
    """The environment files that the run read, or would have."""

    @classmethod
    def of(cls, values: Mapping[str, str], files: Iterable[Path]) -> "Seal | None":
        """`None` for a run without secrets."""
        if not values:
            return None
        salt = secrets.token_hex(16)
        return cls(
            tuple(sorted(values)), salt, slow_digest(values, salt), tuple(str(file.absolute()) for file in files)
        )

    @classmethod
    def read(cls, said: Any) -> "Seal | None":
        """said: what a claim keeps. Raises TypeError, ValueError."""
        if said is None:
            return None
        names, files = (tuple(map(str, said[key])) for key in ("names", "files"))
        return cls(names, str(said["salt"]), str(said["digest"]), files)

    def open(self, user: UserVariables) -> dict[str, str] | None:
        """Returns the run's secrets, when the user's variables or the run's own files have all of them."""
        sources = [user.env_file, *map(self._values_of, self.files), user.environment]
        choices = [list(dict.fromkeys(filter(None, (source.get(name) for source in sources)))) for name in self.names]
        for guess in islice(product(*choices), _MOST_GUESSES):
            values = dict(zip(self.names, guess, strict=True))
            if hmac.compare_digest(slow_digest(values, self.salt), self.digest):
                return values
        return None

    def _values_of(self, file: str) -> Mapping[str, str]:
        path = Path(file)
        try:
            if path.name == ".env":
                return variables_beside(path.parent, self.names, lambda _: None)
            return user_variables(path).env_file
        except InputError:
            return {}


def slow_digest(values: Mapping[str, str], salt: str) -> str:
    """Of all values together, in hex. salt: in hex. Takes about 50 ms."""
    text = "\0".join(f"{name}={values[name]}" for name in sorted(values)).encode("utf-8", "surrogatepass")
    return hashlib.scrypt(text, salt=bytes.fromhex(salt), n=1 << 14, r=8, p=1).hex()
