"""Agents: the prompt of an agent with a model: the mission, then a note on its folders, inputs, secrets and
parameters."""

from functools import cache

import jinja2

from runbook_runner.agents.base import AgentInput

_TEMPLATE = """\
{{ mission }}

---

## Where you are (added by Runbook Runner)

Nobody will answer questions: carry out the runbook above now, from the first step to the last, and decide for yourself
where it leaves something open.

- Working folder: `{{ app }}`. Scratch space: `{{ app }}/work`.
- Write every required output file to `{{ app }}/results`; nothing outside it is kept.
{% if inputs -%}
- Input files, in `{{ app }}/assets`: {{ inputs | map("tojson") | join(", ") }}.
{% else -%}
- There are no input files.
{% endif -%}
{% if secrets -%}
- Secrets that are set as environment variables (never print their values): {{ secrets | join(", ") }}.
{% endif -%}
{% if parameters %}
Parameters of this run; they win over any default above:

{% for name, value in parameters.items() -%}
- {{ name }}: {{ value | tojson }}
{% endfor -%}
{% endif -%}
"""


def render_prompt(agent_input: AgentInput) -> str:
    return _template().render(
        mission=agent_input.mission.rstrip(),
        app=agent_input.app,
        inputs=agent_input.input_names,
        secrets=agent_input.secret_names,
        parameters=agent_input.parameters,
    )


@cache
def _template() -> jinja2.Template:
    # The prompt is Markdown for a model, not HTML.
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True)  # noqa: S701
    return environment.from_string(_TEMPLATE)
