"""`benchgen schema`: the JSON Schema of the documents that runs write."""

from __future__ import annotations

import json

import typer


def schema() -> None:
    """Print the JSON Schema of result documents and of run.json."""
    from benchgen.runs.documents import json_schema

    typer.echo(json.dumps(json_schema(), indent=1))
