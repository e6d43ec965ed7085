"""`benchgen ls KIND`: what can be named in a suite."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Kind(StrEnum):
    """What can be listed."""

    generators = "generators"
    trainers = "trainers"
    references = "references"
    extractors = "extractors"
    measures = "measures"
    metrics = "metrics"
    suites = "suites"


def ls(kind: Annotated[Kind, typer.Argument(help="What to list.")]) -> None:
    """List what can be named in a suite. Loads no model."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("id", "description", "parameters", box=None, header_style="bold")
    for name, description, parameters in _rows(kind):
        table.add_row(escape(name), escape(description), escape(parameters))
    Console().print(table)


def _rows(kind: Kind) -> list[tuple[str, str, str]]:
    if kind is Kind.suites:
        from benchgen.suite import Suite

        return [(name, Suite.bundled(name).summary(), "") for name in Suite.bundled_names()]
    from benchgen.host.loader import host

    rows = []
    for registered in host().all(kind.value.removesuffix("s")):
        spec = registered.spec
        parameters = ", ".join(
            f"{name}={schema['default']!r}" if "default" in schema else name
            for name, schema in spec.parameters.items()
        )
        rows.append((registered.id, spec.description, parameters))
    return rows
