"""Agents: shell commands that install a CLI for one user of this machine, below a folder and nowhere else.

They find in `$PREFIX` the folder, which is there and empty, and in `$PYTHON` a Python; they leave the program as
`$PREFIX/bin/BINARY`.
"""

from dataclasses import dataclass


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
