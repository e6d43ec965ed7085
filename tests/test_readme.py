"""The README and the documentation say what the code does."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import benchgen
from benchgen import errors
from benchgen.cli import help_pages
from benchgen.host import hookspecs
from benchgen.host.loader import HOOKS, host
from benchgen.stats.estimates import Estimate

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_SHELL = {"console", "bash", "sh", "shell"}


def documented_commands() -> Iterator[tuple[str, str]]:
    """Every call of benchgen in a shell block: (page, command)."""
    for page in PAGES:
        for language, block in _FENCE.findall(page.read_text(encoding="utf-8")):
            if language not in _SHELL:
                continue
            lines = block.replace("\\\n", " ").splitlines()
            if language == "console":  # lines without a prompt are output
                lines = [line.lstrip()[2:] for line in lines if line.lstrip().startswith("$ ")]
            for part in (part for line in lines for part in line.split("&&")):
                if re.match(r"\s*(\w+=\S*\s+)*(\S*/)?benchgen(\s|$)", part):
                    yield page.name, part.strip()


@pytest.mark.parametrize(("page", "command"), list(documented_commands()))
def test_documented_command_parses(page: str, command: str) -> None:
    words = shlex.split(command, comments=True)
    while "=" in words[0]:  # variables set for this command
        words.pop(0)
    words[0] = "benchgen"
    known = dict(help_pages.commands())
    if words[1] in ("gate", "audit") and not any(_starts_with(words, p) for p in known):
        words.insert(2, "check")  # which stands for, where no command is named
    path = next((p for p in sorted(known, key=len, reverse=True) if _starts_with(words, p)), None)
    assert path is not None, f"{page}: no such command: {command}"
    arguments = words[len(path.split()) :]
    # Parses options and arguments as the command line does, and calls nothing.
    with known[path].make_context(path, arguments) as context:
        assert context.command is known[path]


def test_documentation_has_commands() -> None:
    pages = {page for page, _ in documented_commands()}
    assert {"README.md", "guide.md", "plugins.md"} <= pages


def test_ci_runs_the_test_command_of_the_readme() -> None:
    blocks = [block for language, block in _FENCE.findall(_read("README.md")) if language == "bash"]
    setup, tests = (block.strip() for block in blocks[:2])
    assert setup.endswith(".venv/bin/benchgen run")
    assert tests.endswith("tox -e tests")
    assert "\n" not in setup + tests
    assert tests in _read(".ci/run").splitlines()


def test_every_hook_is_documented() -> None:
    specified = {name for name in vars(hookspecs) if name.startswith("benchgen_")}
    assert specified == set(HOOKS)
    page = _read("docs/plugins.md")
    assert [name for name in sorted(specified) if f"`{name}`" not in page] == []


def test_every_metric_has_its_section() -> None:
    sections = dict(_metric_sections())
    names = _bundled_metrics()
    assert set(sections) == set(names)
    assert len(list(_metric_sections())) == len(names), "two sections have one heading"
    index, api = _read("docs/metrics/index.md"), _read("docs/api.md")
    for name in names:
        page, text = sections[name]
        missing = [
            label for label in _LABELS if not re.search(rf"^{re.escape(label)} ?", text, re.M)
        ]
        assert missing == [], f"docs/metrics/{page}: {name} lacks {missing}"
        assert f"| [`{name}`]({page}#{name}) |" in index, f"docs/metrics/index.md: {name}"
        assert f"| `{name}` |" in api, f"docs/api.md: {name}"


def test_the_table_of_conventions_is_that_of_the_families() -> None:
    lines = _read("docs/metrics/index.md").partition("\n## Conventions\n")[2].splitlines()
    header, _, *rows = [line.strip("|").split("|") for line in lines if line.startswith("|")]
    tools = [cell.strip() for cell in header[1:]]
    told = {
        name: {tool for tool, cell in zip(tools, row[1:], strict=True) if cell.strip()}
        for row in rows
        for name in re.findall(r"`([\w-]+)`", row[0])
    }
    for name, spec in _bundled_metrics().items():
        assert {tool for tool in tools if _follows(spec, tool)} == told.get(name, set()), name


def test_every_metric_parameter_is_in_the_api_table() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (.*?) \|", _read("docs/api.md"), re.MULTILINE)
    told = dict(rows)
    for registered in host().all("metric"):
        if registered.distribution != "benchgen" or told[registered.spec.name].startswith("as "):
            continue
        for parameter in registered.spec.parameters:
            assert f"`{parameter}`" in told[registered.spec.name], registered.id


def test_every_public_name_is_documented() -> None:
    page = _read("docs/api.md")
    missing = [
        name
        for name in benchgen.__all__
        if not re.search(rf"`(benchgen\.)?{re.escape(name)}[`(]", page)
    ]
    assert missing == []


def test_every_field_of_an_estimate_is_documented() -> None:
    page = _read("docs/api.md").partition("### `Estimate`")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?`) \|", page, re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert {field.name for field in fields(Estimate)} == told


def test_every_exception_is_documented_with_its_exit_code() -> None:
    page = _read("docs/api.md")
    for name in errors.__all__:
        kind = getattr(errors, name)
        row = f"| `{name}` | {kind.exit_code} | `{kind.__base__.__name__}` |"
        assert row in page, f"docs/api.md lacks the row {row}"


def test_every_field_of_a_suite_is_in_the_guide() -> None:
    from benchgen.suite import (
        ExecutionChoice,
        GateChoice,
        GeneratorChoice,
        ReferenceChoice,
        Suite,
    )

    block = next(b for lang, b in _FENCE.findall(_read("docs/guide.md")) if lang == "toml")
    models: list[Any] = [Suite, ReferenceChoice, GeneratorChoice, GateChoice, ExecutionChoice]
    fields = {name for model in models for name in model.model_fields}
    assert [name for name in sorted(fields) if not re.search(rf"\b{name}\b", block)] == []
    example = Suite.parse(block, where="docs/guide.md")
    assert example.metrics[1].convention == "torch-fidelity"


def test_help_pages_are_not_stale() -> None:
    assert _read("docs/cli.md") == help_pages.page(), (
        "docs/cli.md is stale: python -m benchgen.cli.help_pages > docs/cli.md"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


_LABELS = (
    "*Sees*",
    "*Does not see*",
    "*Self-test.*",
    "*Uncertainty.*",
    "*Conventions.*",
    "*Cost.*",
)


def _metric_sections() -> Iterator[tuple[str, tuple[str, str]]]:
    """Every section on a metric: its name, and the page and the text."""
    for path in sorted((ROOT / "docs" / "metrics").glob("*.md")):
        parts = re.split(r"^## `([\w-]+)`$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            yield name, (path.name, text)


def _bundled_metrics() -> dict[str, Any]:
    found = host().all("metric")
    return {one.spec.name: one.spec for one in found if one.distribution == "benchgen"}


def _follows(spec: Any, tool: str) -> bool:
    try:
        spec.load(convention=tool)
    except (TypeError, errors.MetricError):
        return False
    return True


def _starts_with(words: list[str], path: str) -> bool:
    return words[: len(path.split())] == path.split()


def _read(relative: str) -> str:
    return (ROOT / relative).read_text(encoding="utf-8")
