"""Room `runbook`: the JSON Schema of the frontmatter, for editors (contract §3.2, §3.3, §3.11, §3.14).

`Frontmatter` is what a program works with after coercion; this is what an author may write. A test holds the two
together.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from runbook_runner.core.facts.providers import PROVIDERS
from runbook_runner.core.settings import DEFAULT_CHECK_TIMEOUT_S, MAX_CHECK_TIMEOUT_S
from runbook_runner.runbook.run_settings import OwnSettings

SCHEMA_URI = "https://json-schema.org/draft/2020-12/schema"
_Paths = list[str]
_TEXT: dict[str, JsonValue] = {"type": ["string", "null"]}


def _suggested(description: str, *values: str) -> Any:
    """Editors offer the values; any other text is valid too, because validation never gates a run."""
    return Field(default=None, description=description, json_schema_extra={"anyOf": [{"enum": [*values]}, _TEXT]})


class _Open(BaseModel):
    """Unknown keys are kept and ignored (contract §3.2)."""

    model_config = ConfigDict(extra="allow")


class SecretEntry(_Open):
    """A secret by name; its value is never in a runbook."""

    env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = Field(
        None, description="Environment variable that holds the value; the secret's own name when left out."
    )
    description: str | None = Field(None, description="What it opens, for the person who must supply it.")
    required: bool | None = Field(True, description="Without a value the run does not start.")
    expose_to_agent: bool | None = Field(None, description="Hand it to the agent, or keep it from the agent.")
    expose_to_checks: bool | None = Field(None, description="Hand it to the code checks the platform runs.")


class CheckSourceEntry(_Open):
    """A git repository with files for the checks, cloned to /app/checks/NAME."""

    name: str
    type: Literal["git"] = "git"
    url: str = Field(description="An https address, or a path in the runbook's project.")
    ref: str | None = Field(None, description="Branch, tag or commit.")
    secret: str | None = Field(None, description="Name of an entry of `secrets:`; the agent does not get it then.")


class McpServerEntry(_Open):
    """An MCP server for the agent: a command to start, or an address."""

    command: str | list[str] | None = None
    args: list[str] | None = None
    env: dict[str, Any] | None = None
    type: str | None = Field(None, description="stdio, http or sse.")
    url: str | None = None
    headers: dict[str, Any] | None = None
    secret: str | None = Field(None, description="Name of an entry of `secrets:`; the agent does not get it then.")


class CodeChecksEntry(_Open):
    """How the checks under `## Code Checks` are run."""

    timeout_sec: int | None = Field(
        DEFAULT_CHECK_TIMEOUT_S,
        ge=1,
        description=f"Seconds per check; more than {MAX_CHECK_TIMEOUT_S} counts as {MAX_CHECK_TIMEOUT_S}.",
    )
    sources: list[CheckSourceEntry] | None = None
    mcp_servers: dict[str, McpServerEntry] | None = None
    references: list[str] | None = Field(None, description="Addresses the agent may read.")
    executor: Literal["jetty", "agent"] | None = Field(None, deprecated=True, description="Of an older revision.")


class AttributionEntry(_Open):
    """Who made what was imported."""

    collection_or_org: str | None = None
    source_collection: str | None = None
    skill_name: str | None = None
    author: str | None = None
    license: str | None = None
    confidence: str | None = None


class OriginEntry(_Open):
    """Where an imported runbook comes from."""

    url: str | None = None
    source_host: str | None = None
    source_title: str | None = None
    imported_at: str | None = None
    imported_by: str | None = None
    license: str | None = None
    notice: str | None = None
    is_directory_mirror: bool | None = None
    user_supplied_url: str | None = None
    attribution: AttributionEntry | None = None


class FrontmatterFile(_Open):
    """The YAML block at the top of a RUNBOOK.md."""

    version: str | int | float | None = Field(None, description="Semantic version of the runbook.")
    evaluation: str | None = _suggested("How success is judged.", "programmatic", "rubric")
    agent: str | None = _suggested("Who works.")
    model: str | None = Field(None, description="Model id; any that the provider knows.")
    model_provider: str | None = _suggested(
        "Who serves the model.", *(row.name for row in PROVIDERS.values() if not row.is_local)
    )
    snapshot: str | None = _suggested("Sandbox preset.", "python312-uv", "prism-playwright")
    image: str | None = Field(None, description="Container image to use instead of a snapshot.")
    primary_outputs: _Paths | str | None = Field(
        None, description="Headline files, relative to the results directory, most important first."
    )
    secrets: dict[str, SecretEntry | None] | None = Field(None, description="Names of secrets, never their values.")
    strict_evaluation: bool | None = Field(False, description="A check the agent does not report is an error.")
    code_checks: CodeChecksEntry | None = None
    mcp_servers: dict[str, McpServerEntry] | None = None
    origin: OriginEntry | None = None
    runbook_runner: OwnSettings | None = None


def frontmatter_schema(agents: Sequence[str]) -> dict[str, Any]:
    """JSON Schema 2020-12, as yaml-language-server takes it. agents: the names to suggest for `agent`."""
    schema = FrontmatterFile.model_json_schema(by_alias=True)
    schema["properties"]["agent"]["anyOf"][0]["enum"] = [*agents]
    return {"$schema": SCHEMA_URI, **schema, "title": "RUNBOOK.md frontmatter"}
