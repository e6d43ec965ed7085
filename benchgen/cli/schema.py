"""`benchgen schema`: the JSON Schema of the documents that benchgen writes."""

from __future__ import annotations

import json

import typer


def schema() -> None:
    """Print the JSON Schema of result documents, run.json, baselines, gate.json and audit.json."""
    from benchgen.audits.documents import AuditDocument
    from benchgen.gate.documents import BaselineDocument, GateDocument
    from benchgen.runs.documents import json_schema

    typer.echo(json.dumps(json_schema(BaselineDocument, GateDocument, AuditDocument), indent=1))
