"""Docker sandbox: what is in an image, asked of the image itself."""

import re
from collections.abc import Iterable
from typing import Final

from runbook_runner.core.spec import Network
from runbook_runner.sandbox import SandboxSpec
from runbook_runner.sandbox.docker import DockerSandbox
from runbook_runner.sandbox.engine import Engine

_PROGRAMS: Final = ("python3", "uv", "node", "npm", "git", "chromium", "playwright")
_ASK_S: Final = 60.0
_VERSION = re.compile(r"\d+(\.\d+)+\S*")


def versions(engine: Engine, image: str, programs: Iterable[str] = ()) -> dict[str, str]:
    """Program → version, as far as it has them; asked in a container without a network. programs: more to ask. Raises
    NotReadyError when no container starts, SandboxError."""
    ask = "printf '%s\\t' {0}; {{ {0} --version || true; }} 2>/dev/null </dev/null | head -n 1; echo\n"
    script = "".join(ask.format(program) for program in dict.fromkeys((*_PROGRAMS, *programs)))
    spec = SandboxSpec(run_id="inspect", image=image, lifetime_s=_ASK_S, network=Network(policy="none"))
    with DockerSandbox(engine, spec) as sandbox:
        process = sandbox.exec(["sh", "-c", script], env={"HOME": "/tmp"}, deadline_s=_ASK_S)  # noqa: S108
        said = b"".join(chunk.data for chunk in process if chunk.stream == "stdout").decode(errors="replace")
    lines = (line.partition("\t") for line in said.splitlines() if "\t" in line)
    return {name: match[0] for name, _, version in lines if (match := _VERSION.search(version))}
