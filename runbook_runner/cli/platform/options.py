"""Command line: what the commands that talk to a platform share."""

from runbook_runner.cli.options import OptionGroup
from runbook_runner.core.settings import DEFAULT_RESULTS_BYTES

ABOUT_ACCESS = """\
The token is JETTY_API_TOKEN, else the content of ~/.config/jetty/token; it goes to the API only, and is never shown.
"""


def add_api(group: OptionGroup) -> None:
    text = (
        "The platform's API (default: JETTY_API_URL, else ~/.config/jetty/api_base, else https://flows-api.jetty.io)."
    )
    group.add_argument("--api", metavar="URL", help=text)


def add_max_size(group: OptionGroup) -> None:
    text = f"Download at most so much (default: {DEFAULT_RESULTS_BYTES >> 30}G)."
    group.add_argument("--max-size", metavar="SIZE", help=text)
