"""The limits that a sandbox ran into, beside the end of an agent."""

import pytest

from runbook_runner.core.events import AgentFinished
from runbook_runner.core.spec import Limits
from runbook_runner.runner.limits import with_limits
from runbook_runner.sandbox.backends import BACKENDS
from runbook_runner.sandbox.base import SandboxSpec


@pytest.mark.needs("bubblewrap")
def test_limit_that_was_passed_is_told_when_the_agent_had_ended_well_before(tmp_path):
    spec = SandboxSpec(run_id="test", lifetime_s=60, disk_bytes=20 << 20)
    with BACKENDS["bubblewrap"].open(None).create(spec) as sandbox:
        end = AgentFinished(exit_code=0, ended_by="exit")
        told = []
        assert with_limits(end, sandbox, Limits(), tmp_path, told.append) == end
        assert told == []
        process = sandbox.exec(["sh", "-c", "head -c 40000000 /dev/zero >/app/results/big; sleep 50"], deadline_s=50)
        assert process.wait().ended_by == "killed"
        assert with_limits(end, sandbox, Limits(), tmp_path, told.append) == end
    assert [(log.level, log.message) for log in told] == [("warning", "It wrote more than 20 MB to disk.")]
