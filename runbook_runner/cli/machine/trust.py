"""Command line: `runbook trust`."""

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from runbook_runner.agents.registry import FOLDER as AGENTS
from runbook_runner.cli.options import add_json
from runbook_runner.cli.ui.output import put_json
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.files import is_file, is_folder
from runbook_runner.core.settings import RUNBOOK_FILE, Settings
from runbook_runner.core.text import printable
from runbook_runner.runbook.document import parse
from runbook_runner.runbook.sources.load import load
from runbook_runner.runner.trust import Offer, TrustStore, of_project, of_variables
from runbook_runner.sandbox.images.snapshots import FOLDER as SNAPSHOTS

DESCRIPTION = """\
A cloned repository is hostile until you say otherwise: its snapshots are built, its agents installed or run without a
sandbox, and its runbook given variables of your environment only after you have trusted this very content. Look at it
first; whatever changes needs trust again. `docs/security.md` has the whole model.

Exit codes: 0 done, with --show also: everything is trusted; 1 with --show: something is not; 2 bad input.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    path = (
        "A folder: what the projects around it offer, and the RUNBOOK.md in it; or a runbook, or one agent or snapshot "
        "of a project (default: the current folder)."
    )
    parser.add_argument("path", nargs="?", default=".", type=Path, metavar="PATH", help=path)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--show", action="store_true", help="Say what is trusted and what is not; change nothing.")
    instead.add_argument("--revoke", action="store_true", help="Trust it no longer.")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    store = TrustStore(Settings.load().data)
    offers = list(_offers(arguments.path))
    for offer in () if arguments.show else offers:
        (store.remove if arguments.revoke else store.add)(offer)
    if arguments.json:
        listed = [{**asdict(offer), "trusted": store.knows(offer)} for offer in offers]
        put_json(listed)
    else:
        _print(offers, store)
    untrusted = arguments.show and not all(map(store.knows, offers))
    return ExitCode.VERDICT_FAIL if untrusted else ExitCode.PASS


def _offers(path: Path) -> Iterator[Offer]:
    """Raises InputError for a path that is not there, and for what can't be read."""
    if not (is_file(path) or is_folder(path)):
        raise InputError("There is no such file or folder.", where=str(path))
    if named := _named_offer(path):
        yield _only(named)
        return
    here = path.absolute()
    yield from of_project([here if is_folder(here) else here.parent])
    runbook = here / RUNBOOK_FILE if is_folder(here) else here
    if is_file(runbook):
        source = load(str(runbook))
        yield from of_variables(parse(source.text, source.name), source.text, source.folder)


def _named_offer(path: Path) -> Path | None:
    """Returns the real place of what lies in a project's folder of agents or snapshots; `None` for another path."""
    real = Path(os.path.realpath(path))
    link = real if path.name == ".." else Path(os.path.realpath(path.parent), path.name)  # in such a folder
    return next(filter(_project_of, (link, real)), None)


def _project_of(place: Path) -> Path | None:
    """The one in whose folder of offers, the innermost, it is."""
    folders = (folder for folder in (place, *place.parents) if Path(*folder.parts[-2:]) in (AGENTS, SNAPSHOTS))
    return next((folder.parent.parent for folder in folders), None)


def _only(place: Path) -> Offer:
    """Who names one offer trusts that one: not what else there is, nor another in its place. Raises InputError."""
    project = _project_of(place)
    assert project
    for offer in of_project([project], only=place):
        if Path(offer.where) == place:
            return offer
    hint = f"Another of its name counts, or it is no agent and no snapshot: see `runbook trust --show {project}`."
    raise InputError("The project does not offer this.", where=str(place), hint=hint)


def _print(offers: list[Offer], store: TrustStore) -> None:
    text = "".join(f"{'trusted' if store.knows(offer) else 'not trusted'}: {offer}\n" for offer in offers)
    sys.stdout.write(printable(text) if text else "There is nothing here that needs trust.\n")
