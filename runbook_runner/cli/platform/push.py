"""Command line: `runbook push`."""

import argparse
import sys
from typing import Any
from urllib.parse import quote

from runbook_runner.cli.options import add_dry_run, add_json
from runbook_runner.cli.platform.options import ABOUT_ACCESS, add_api
from runbook_runner.cli.ui.output import put_json, warn
from runbook_runner.core import ids
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.text import printable_name
from runbook_runner.runbook.document import parse
from runbook_runner.runbook.sources.load import load
from runbook_runner.runner.hosted.task import Task, task_from

DESCRIPTION = f"""\
The text is sent as it is written, without values for its parameters. What is named like a credential, or looks like
one, stays here where it is a header or a variable of an MCP server; with one elsewhere in a server the runbook is
refused, and with one of a known form (as ghp_… or a private key) anywhere in the text. Not seen: in the text, comments
and other settings, a password or token of no such form; in a server, a value under a name that does not say what it is.
Look with --dry-run. A task that is there is updated, else it is made. {ABOUT_ACCESS}
Exit codes: 0 registered, 2 bad input, 3 the platform refuses it or can't be asked, 5 a bug, 130 interrupted.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="A RUNBOOK.md, or a folder that holds one.")
    collection = "Default: the collection that the token is good for, when it is one."
    parser.add_argument("--collection", metavar="NAME", help=collection)
    parser.add_argument("--task", metavar="NAME", help="Default: by the runbook's title.")
    add_api(parser)
    add_dry_run(parser, "Print what would be sent, and ask nobody.")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Raises InputError, and NotReadyError when the platform refuses."""
    for name in filter(None, (arguments.collection, arguments.task)):
        if not ids.is_name(name):
            raise InputError(f"{name!r} can't be a name.", hint=ids.NAME_HINT)
    source = load(arguments.path)
    task = task_from(parse(source.text, source.name), source.folder, arguments.task)
    for place in task.removed:
        warn(f"{printable_name(place)} is not sent: the platform has its credentials in the collection's environment")
    if arguments.dry_run:
        put_json({"collection": arguments.collection, "task": task.name, "body": task.create()}, indent=1)
        return ExitCode.PASS
    done = _register(task, arguments.collection, arguments.api)
    if arguments.json:
        put_json(done)
    else:
        sys.stdout.write(f"{done['action']} {done['collection']}/{done['task']} at {done['api']}\n")
    return ExitCode.PASS


def _register(task: Task, collection: str | None, api: str | None) -> dict[str, Any]:
    from runbook_runner.client.access import find_access  # imports ssl
    from runbook_runner.client.platform import NotFoundError, Platform

    platform = Platform(find_access(api))
    collection = collection or _only_collection(platform.get("/api/v1/collections/", "the list of collections"))
    path = f"/api/v1/tasks/{quote(collection, safe='')}"
    what = f"the task {collection}/{task.name}"
    try:
        platform.send("PUT", f"{path}/{quote(task.name, safe='')}", task.update(), what)
        action = "updated"
    except NotFoundError:
        platform.send("POST", path, task.create(), what)
        action = "created"
    removed = list(task.removed)
    return {"action": action, "collection": collection, "task": task.name, "api": platform.api, "removed": removed}


def _only_collection(listed: Any) -> str:
    """Raises InputError when there are none or several."""
    entries = listed if isinstance(listed, list) else []
    names = [str(one["name"]) for one in entries if isinstance(one, dict) and ids.is_name(str(one.get("name")))]
    if len(names) != 1:
        known = f"The platform has: {', '.join(names[:20])}." if names else "The platform shows none to this token."
        raise InputError("Say with --collection where the task belongs.", hint=known)
    return names[0]
