"""Runner: what is written down of a run before anything happens: what was asked, in files and as the first event."""

from typing import Any

from runbook_runner import __version__
from runbook_runner.core.errors import RecordingError
from runbook_runner.core.events import RunStarted
from runbook_runner.core.files import write_atomically
from runbook_runner.core.spec import RunSpec
from runbook_runner.runner.underway import Run
from runbook_runner.trajectory.store import MISSION_FILE, SPEC_FILE


def write_down(run: Run) -> None:
    """Raises RecordingError."""
    spec, clean = run.spec, run.redactor
    try:
        write_atomically(run.folder / SPEC_FILE, clean.clean(spec.model_dump_json(indent=1)) + "\n")
        write_atomically(run.folder / MISSION_FILE, clean.clean(spec.mission))
    except OSError as error:
        raise RecordingError(f"The run can't be recorded: {error.strerror}.", where=str(run.folder)) from error
    run.emit(
        RunStarted(
            trajectory_id=run.trajectory_id,
            collection=spec.collection,
            task=spec.task,
            author=run.options.author,
            spec_digest=spec.digest(),
            init_params=_init_params(spec),
            step_config=_step_config(spec),
            labels=spec.labels,
            engine=f"runbook-runner/{__version__}",
            replay=run.options.replay.described() if run.options.replay else None,
        )
    )


def _init_params(spec: RunSpec) -> dict[str, Any]:
    """As the platform records a runbook run (contract §6.8)."""
    return {
        "agent": spec.agent,
        "model": spec.model,
        "model_provider": spec.provider,
        "snapshot": spec.snapshot,
        "image": spec.image,
        "instruction": spec.mission,
        "vars": spec.parameters,
        "file_paths": [item.name for item in spec.inputs],
    }


def _step_config(spec: RunSpec) -> dict[str, Any]:
    return {
        "activity": "runbook",
        "agent_path": "init_params.agent",
        "model_path": "init_params.model",
        "model_provider_path": "init_params.model_provider",
        "snapshot_path": "init_params.snapshot",
        "instruction_path": "init_params.instruction",
        "template_variables_path": "init_params.vars",
        "files_path": "init_params.file_paths",
        "cpus": spec.limits.cpus,
        "memory": f"{spec.limits.memory_bytes >> 20}M",
        "timeout_sec": spec.limits.timeout_s,
        "network_enabled": spec.network.policy != "none",
    }
