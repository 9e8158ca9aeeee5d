"""Docker sandbox: the container: created and started, given its first files, removed."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

from docker.errors import APIError, ImageNotFound, NotFound
from docker.types import LogConfig

from runbook_runner.core import settings
from runbook_runner.core.errors import InputError, NotReadyError, SandboxError
from runbook_runner.sandbox.base import PutFile, SandboxSpec
from runbook_runner.sandbox.docker.archive import pack
from runbook_runner.sandbox.docker.creation import ImageUser, create_container
from runbook_runner.sandbox.docker.engine import NEEDS, Engine, engine_errors
from runbook_runner.sandbox.docker.exec_socket import SYSTEM_FOLDERS, require_user, user_of
from runbook_runner.sandbox.docker.network import ContainerSockets

# The capabilities of root that apt, pip, npm and our own kill need; tests/sandbox/docker/test_docker.py proves it.
CAPABILITIES: Final = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID")
_GONE_S: Final = 10
# $0: seconds. It is process 1, which nothing inside can end: the kernel drops signals that process 1 has no handler
# for. It reaps orphans while it waits for its child, a program: the `sleep` that some shells have built in is no
# process, and returns when an orphan ends. When its child is ended by SIGKILL, it becomes a `sleep` itself, and
# that is the image's: by then the agent may have put another one on PATH. Without such a program it waits itself.
_KEEP_ALIVE: Final = f"""\
trap '' HUP INT TERM
set -f
IFS=:
for folder in {SYSTEM_FOLDERS.replace(":", " ")} $PATH; do
    if [ -f "$folder/sleep" ] && [ -x "$folder/sleep" ]; then
        "$folder/sleep" "$0" && exit
        exec "$folder/sleep" "$0"
    fi
done
read -r now </proc/uptime
until=$((${{now%%.*}} + $0))
while read -r now </proc/uptime && [ "${{now%%.*}}" -lt "$until" ]; do
    sleep $((until - ${{now%%.*}})) || exit
done
"""


def start_container(engine: Engine, spec: SandboxSpec, name: str, sockets: ContainerSockets) -> tuple[str, ImageUser]:
    """Returns the id of a running container that does nothing, and the user of its commands. name: by which the
    container is found when this fails half way. Raises NotReadyError when the engine can't start it, SandboxError when
    the engine is lost."""
    with engine_errors("start a container"):
        try:
            container = _create(engine, spec, name, sockets)
            user = user_of(engine, container)
            if user.groups:
                remove_container(engine, name)
                container = _create(engine, spec, name, sockets, user.groups)
            engine.api.start(container)
            if user.ids:
                require_user(engine, container, user.ids)
        except ImageNotFound as error:
            raise NotReadyError(f"The Docker engine has no image {spec.image!r}.") from error
        except APIError as error:
            refusal = (error.explanation or str(error)).strip()
            if sockets.can_do_without_folder(refusal):
                remove_container(engine, name)
                return start_container(engine, spec, name, sockets)
            raise NotReadyError(
                f"The container did not start: {refusal}",
                hint=NEEDS,
            ) from error
    return container, user


def _create(engine: Engine, spec: SandboxSpec, name: str, sockets: ContainerSockets, groups: Sequence[int] = ()) -> str:
    """groups: that every process in it has."""
    if spec.image is None:
        raise InputError("A docker sandbox needs an image.")
    return create_container(
        engine,
        spec.image,
        lambda options: _host_config(engine, spec, sockets, options, groups),
        labels=spec.labels,
        user="0",  # an agent that is not root can put its own program into any process of its user, by /proc/PID/mem
        entrypoint=["sh"],
        command=["-c", _KEEP_ALIVE, str(max(1, round(spec.lifetime_s)))],
        stop_signal="SIGKILL",
        name=name,
        environment={**_proxies(engine, spec), **_ca_variables(spec), **sockets.environment},
        working_dir="/",
    )


def _host_config(
    engine: Engine, spec: SandboxSpec, sockets: ContainerSockets, options: list[str], groups: Sequence[int]
) -> Any:
    return engine.api.create_host_config(
        init=False,
        auto_remove=True,
        cap_drop=["ALL"],
        cap_add=list(CAPABILITIES),
        security_opt=["no-new-privileges", *options],
        group_add=[str(group) for group in groups],
        pids_limit=spec.pids,
        nano_cpus=int(min(spec.cpus, engine.cpus) * 1e9),
        mem_limit=spec.memory_bytes,
        memswap_limit=spec.memory_bytes,
        shm_size=spec.memory_bytes // 2,  # Linux' own default; an engine's is 64 MB. What is in it counts as memory
        log_config=LogConfig(type="none"),
        **sockets.host_config,
    )


def _proxies(engine: Engine, spec: SandboxSpec) -> dict[str, str]:
    """Those of the Docker configuration, as its user expects, but never with a password."""
    return engine.proxies if spec.network.policy == "full" else {}


def _ca_variables(spec: SandboxSpec) -> dict[str, str]:
    if spec.ca_bundle is None:
        return {}
    return dict.fromkeys(settings.CA_VARIABLES, settings.SANDBOX_CA_BUNDLE)


def first_files(spec: SandboxSpec) -> tuple[PutFile, ...]:
    """Returns the files that every container gets together with its folders."""
    if spec.ca_bundle is None:
        return ()
    return (PutFile(settings.SANDBOX_CA_BUNDLE, spec.ca_bundle.resolve(), mode=0o644),)


def put_files(engine: Engine, container: str, files: Iterable[PutFile], folders: Sequence[str] = ()) -> None:
    """See `Sandbox.put` and `archive.pack`."""
    refused: list[InputError] = []

    def stream() -> Iterable[bytes]:
        try:
            yield from pack(files, folders)
        except InputError as error:  # the HTTP client would replace it with an error of its own
            refused.append(error)
            raise

    try:
        with engine_errors("put files into the container"):
            engine.api.put_archive(container, "/", stream())
    except (SandboxError, InputError):
        if refused:
            raise refused[0] from None
        raise


def remove_container(engine: Engine, name: str) -> None:
    """Ends and removes a container. One that is gone is fine. Raises SandboxError."""
    with engine_errors("remove the container"):
        try:
            engine.api.remove_container(name, force=True, v=True)
        except NotFound:
            return
        except APIError as error:
            if error.status_code != 409:  # 409: its own auto-remove is at work
                raise
            with suppress(NotFound):
                engine.api.wait(name, timeout=_GONE_S, condition="removed")
