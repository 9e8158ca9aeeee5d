"""Core: who may say what. There are three sources of authority, and docs/security.md is the long form of this page.

* The *user*: command line, environment, `--env-file`, own configuration and data folder. May say everything.
* The *project*: the `.runbook/` and `pyproject.toml` of the folders around a runbook. May narrow what a run may do, and
  may offer agents and snapshots. What of them would run on this machine or be built needs the user's trust in this very
  content (`runner/trust.py`).
* *Data*: the runbook, the `.env` beside it, its inputs, recordings, results, images, and all that comes out of a
  sandbox. They say what they want; the user grants.

The rules here are about variables: which of them data may not name, and which only the user may set.
"""

import re
from typing import Final

from runbook_runner.core.facts.providers import OTHER_PROVIDER_KEYS, PROVIDER_KEYS, PROVIDERS

# Programs read these to decide what to load, run or talk to, so their value is never only a value. A name in these
# families that says it is a credential, like GIT_TOKEN, is one.
_STEERING: Final = (  # a text, compiled when a document declares a secret
    r"(?:LD|DYLD|GCONV|GLIBC|MALLOC|PYTHON|PERL|GIT|BASH)_\w+|BASH_FUNC.*|"
    r"PYTHON\w+|PERL\w*LIB|PERL5\w*|RUBY(?:OPT|LIB)|NODE_(?:OPTIONS|PATH|EXTRA_CA_CERTS)|"
    r"_?JAVA_(?:TOOL_)?OPTIONS|JDK_JAVA_OPTIONS|CLASSPATH|"
    r"PATH|HOME|SHELL|ENV|IFS|CDPATH|PS4|PROMPT_COMMAND|SHELLOPTS|BASHOPTS|TMPDIR|LOCPATH|"
    r"(?:ALL|HTTPS?|FTP|NO)_PROXY|SSL_CERT_(?:FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|DOCKER_\w+"
)
_CREDENTIAL: Final = r"(?:GIT|PYTHON|PERL|DOCKER)_(?:\w+_)?(?:TOKEN|PASSWORD|PAT|SECRET)"
_OWN: Final = "RUNBOOK_"
_ADDRESSES: Final = frozenset(variable for row in PROVIDERS.values() for variable in row.base_variables)


def steers_programs(name: str) -> bool:
    """Whether a variable of this name decides what programs load, run or talk to. None is accepted as a secret."""
    return bool(re.fullmatch(_STEERING, name, re.IGNORECASE)) and not re.fullmatch(_CREDENTIAL, name, re.IGNORECASE)


def opens_provider(name: str) -> bool:
    """Whether it holds the key of a model provider: it enters a sandbox only when the user has typed its name."""
    return name in PROVIDER_KEYS or name in OTHER_PROVIDER_KEYS


def only_from_user(name: str) -> bool:
    """Whether only the environment and `--env-file` may set it, not a file beside a runbook: keys and addresses of
    model providers, and this program's own settings."""
    return opens_provider(name) or name in _ADDRESSES or name.startswith(_OWN)
