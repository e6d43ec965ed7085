"""The page docs/cli.md, made from the commands themselves.

``python -m benchgen.cli.help_pages > docs/cli.md``. A test fails when the page is stale.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, get_args, get_origin

from rich.text import Text
from typer.main import get_command

from benchgen.cli.main import app

_KINDS = {str: "TEXT", int: "INTEGER", float: "NUMBER", Path: "PATH"}

_HEAD = """\
# Command line

Made by `python -m benchgen.cli.help_pages`; do not edit. `benchgen COMMAND --help` says the same.
[The guide](guide.md#exit-codes) lists the exit codes.
"""


def page() -> str:
    """The whole page as Markdown, the same at any width of terminal."""
    sections = [_section(path, command) for path, command in commands()]
    return "\n".join([_HEAD, *sections])


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its full name: ``("benchgen run", command)``."""
    yield from _leaves("benchgen", get_command(app))


def _leaves(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name, child in inner.items():
        yield from _leaves(f"{path} {name}", child)


def _section(path: str, command: Any) -> str:
    kinds = inspect.signature(command.callback, eval_str=True).parameters
    usage, rows = [path], []
    for parameter in command.params:
        kind = _bare(kinds[parameter.name].annotation)
        is_option = parameter.opts[0].startswith("-")
        if not is_option:
            name = parameter.name.upper() + ("..." if parameter.nargs == -1 else "")
            usage.append(name if parameter.required else f"[{name}]")
        else:
            name = ", ".join([*parameter.opts, *parameter.secondary_opts])
            name += "" if kind is bool else f" {_KINDS.get(kind, 'TEXT')}"
        rows.append(f"| `{name}` | {_meaning(parameter, kind)} |")
    if any(parameter.opts[0].startswith("-") for parameter in command.params):
        usage.append("[OPTIONS]")
    table = ["", "| Argument or option | Meaning |", "|---|---|", *rows] if rows else []
    text = inspect.cleandoc(command.help or "")
    return "\n".join([f"## {path}", "", f"    {' '.join(usage)}", "", text, *table, ""])


def _meaning(parameter: Any, kind: Any) -> str:
    parts = [Text.from_markup(parameter.help or "").plain]
    if isinstance(kind, type) and issubclass(kind, Enum):
        parts.append(f"One of {', '.join(f'`{member.value}`' for member in kind)}.")
    if parameter.multiple:
        parts.append("May be repeated.")
    default = parameter.default
    if parameter.required and parameter.opts[0].startswith("-"):
        parts.append("Required.")
    elif isinstance(default, str | int | float) and not isinstance(default, bool):
        parts.append(f"Default: `{default}`.")
    return " ".join(parts).replace("<", "&lt;").replace("|", "\\|")


def _bare(annotation: Any) -> Any:
    """``int`` for ``Annotated[int | None, ...]``, and ``str`` for a list of them."""
    origin = get_origin(annotation)
    if origin is Annotated or origin is list:
        return _bare(get_args(annotation)[0])
    if origin is UnionType:
        return _bare(next(arg for arg in get_args(annotation) if arg is not NoneType))
    return annotation


if __name__ == "__main__":
    print(page(), end="")
