"""Command line: a diff of runs as one HTML page: no script, nothing from elsewhere, all texts escaped."""

from typing import Final

from runbook_runner.cli.records.diff_lines import sections
from runbook_runner.core.text import printable_name, printable_output
from runbook_runner.runner.diff import Diff

_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ one }} and {{ two }}</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; }
pre { font: 13px/1.45 ui-monospace, monospace; overflow-x: auto; margin: .3rem 0 1rem; }
summary { cursor: pointer; font-weight: 600; }
.one, .bad, .differs > summary { color: #c33; }
.two, .same > summary { color: #2a8a3e; }
pre .same, .hint { opacity: .65; }
</style>
</head>
<body>
<h1>{{ "The two are the same" if is_same else "The two differ" }}</h1>
<pre><span class="one">- {{ one }}</span>
<span class="two">+ {{ two }}</span></pre>
{% for section in sections %}
<details class="{{ section.css }}"{{ "" if section.css == "same" else " open" }}>
<summary>{{ section.mark }} {{ section.title }}</summary>
<pre>{% for kind, text in section.lines %}<span class="{{ kind }}">{{ text }}</span>
{% endfor %}</pre>
</details>
{% endfor %}
</body>
</html>
"""


def page_of(found: Diff) -> str:
    from jinja2 import Environment, StrictUndefined  # slow to import, and the terminal does without

    marks = {True: ("✓", "same"), False: ("✗", "differs"), None: ("·", "plain")}
    shown = [
        {
            "mark": marks[section.is_same][0],
            "css": marks[section.is_same][1],
            "title": printable_name(section.title),
            "lines": [(kind, printable_output(text)) for kind, text in section.lines],
        }
        for section in sections(found)
    ]
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(_PAGE)
    names = {"one": printable_name(found.one.name), "two": printable_name(found.two.name)}
    # A name of a file may have bytes that are not UTF-8.
    return page.render(sections=shown, is_same=found.is_same, **names).encode(errors="backslashreplace").decode()
