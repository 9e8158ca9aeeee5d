"""Sandbox: which paths files may be put at, and how `/app` in a text becomes another folder and comes back."""

import posixpath
import re
from collections.abc import Callable

from runbook_runner.core import settings
from runbook_runner.core.errors import InputError

CONFIG = posixpath.dirname(settings.SANDBOX_CA_BUNDLE)
_WRITABLE = (settings.APP, CONFIG)

# `/app` as a path of its own. Not before it: the end of a longer path, of a URL or of a variable. Not after it: more
# of a longer name. `@/app` is curl's way to name a file and JavaScript's way to name a module; only folders that
# runbooks know are taken for the former.
_BEFORE = r"(?:(?<![\w./@}~*\])$%#-])|(?<=file://))"
_AFTER = r"(?![\w-]|\.\w)"
_KNOWN = r"(?<=@)/app(?=/(?:assets|results|work|checks|\.runbook)(?![\w-]))"
_APP = re.compile(f"{_BEFORE}/app{_AFTER}|{_KNOWN}")


def check_writable(path: str) -> str:
    """Returns the path if it is absolute, without `..` and below `/app` or `/etc/runbook`. Raises InputError."""
    plain = posixpath.normpath(path) == path and "\0" not in path
    if not plain or not any(path.startswith(root + "/") for root in _WRITABLE):
        message = f"{path!r} is not a path where a sandbox takes files."
        raise InputError(message, hint=f"Use a path below {settings.APP}.")
    return path


def app_rewriter(app: str) -> Callable[[str], str]:
    """Returns a function that replaces `/app` in a text with the folder `app`."""
    return lambda text: _APP.sub(lambda _: app, text)


def app_restorer(app: str) -> Callable[[str], str]:
    """Returns a function that replaces the folder `app` in a text with `/app`: what two sandboxes have written is the
    same then."""
    return lambda text: text if app == settings.APP else text.replace(app, settings.APP)
