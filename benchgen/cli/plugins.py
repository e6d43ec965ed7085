"""`benchgen plugins list`: what the loader found, and what became of it."""

from __future__ import annotations

import typer

app = typer.Typer(help="Plugins: what is installed, and in which state.", no_args_is_help=True)

_COLOURS = {"active": "green", "blocked": "yellow", "shadowed": "yellow"}


@app.command("list")
def list_plugins() -> None:
    """List every plugin with its state (active, blocked, broken, incompatible, shadowed)."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from benchgen.host.loader import host

    table = Table("plugin", "version", "state", "offers", box=None, header_style="bold")
    for plugin in host().plugins:
        colour = _COLOURS.get(plugin.state, "red")
        told = _grouped(plugin.offers) if plugin.state == "active" else plugin.reason
        table.add_row(plugin.name, plugin.version, f"[{colour}]{plugin.state}[/]", escape(told))
    Console().print(table)


def _grouped(offers: list[str]) -> str:
    """``generators: mnist-gan, mnist-vae`` and so on, a line a kind."""
    kinds: dict[str, list[str]] = {}
    for offer in offers:
        kind, _, name = offer.partition(" ")
        kinds.setdefault(kind, []).append(name)
    return "\n".join(f"{kind}s: {', '.join(names)}" for kind, names in kinds.items())


@app.callback()
def _group() -> None:
    """Plugins: what is installed, and in which state."""
