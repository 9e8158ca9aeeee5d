"""Runner: what a started sandbox does not keep, told to its user before the agent begins."""

from collections.abc import Iterator

from runbook_runner.core.spec import Network
from runbook_runner.sandbox.base import Sandbox


def shortcomings(sandbox: Sandbox, network: Network) -> Iterator[str]:
    """One sentence each; none when all holds."""
    if sandbox.backend == "host":
        yield "The host sandbox isolates nothing: the agent can read and change whatever you can."
        return
    if sandbox.backend == "bubblewrap" and network.policy == "full":
        yield "With the network policy full, bubblewrap shares this machine's network and its local services."
    unlimited = [limit for limit, how in sandbox.holds().items() if how == "none"]
    if unlimited:
        yield f"Not limited here, for no control group can be made: {', '.join(unlimited)}."
