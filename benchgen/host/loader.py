"""Finds plugins, loads them apart from one another, and looks specs up by id."""

from __future__ import annotations

import difflib
import importlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any, Literal

import pluggy
from packaging.requirements import InvalidRequirement, Requirement

from benchgen.errors import PluginError, SuiteError, UnknownIdError, UsageError
from benchgen.host import hookspecs
from benchgen.host.specs import (
    ExtractorSpec,
    GeneratorSpec,
    MeasureSpec,
    MetricSpec,
    ReferenceSpec,
    Spec,
    TrainerSpec,
)
from benchgen.version import __version__

GROUP = "benchgen"

HOOKS: dict[str, tuple[type[Spec], ...]] = {
    "benchgen_generators": (GeneratorSpec, TrainerSpec),
    "benchgen_references": (ReferenceSpec,),
    "benchgen_extractors": (ExtractorSpec,),
    "benchgen_measures": (MeasureSpec,),
    "benchgen_metrics": (MetricSpec,),
}

KINDS: dict[str, type[Spec]] = {
    "generator": GeneratorSpec,
    "trainer": TrainerSpec,
    "reference": ReferenceSpec,
    "extractor": ExtractorSpec,
    "measure": MeasureSpec,
    "metric": MetricSpec,
}

State = Literal["active", "blocked", "broken", "incompatible", "shadowed"]


@dataclass(frozen=True)
class Registered:
    """A spec with where it came from. ``id`` is ``distribution/name``."""

    spec: Spec
    distribution: str
    distribution_version: str

    @property
    def id(self) -> str:
        return f"{self.distribution}/{self.spec.name}"


@dataclass
class Plugin:
    """One entry point of the group ``benchgen``, and what became of it."""

    name: str
    distribution: str
    version: str
    state: State = "active"
    reason: str = ""
    specs: list[Spec] = field(default_factory=list)

    @property
    def offers(self) -> list[str]:
        """What it registered, as ``kind name``."""
        kinds = {cls: kind for kind, cls in KINDS.items()}
        return [f"{kinds[type(spec)]} {spec.name}" for spec in self.specs]


class Host:
    """The plugins of this environment. One bad plugin never hurts another.

    Raises:
        PluginError: On construction under ``strict``, if any plugin is broken, incompatible or
            shadowed.
    """

    def __init__(
        self,
        found: Iterable[tuple[EntryPoint, Distribution]],
        *,
        disabled: Iterable[str] = (),
        strict: bool = False,
    ) -> None:
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self.plugins: list[Plugin] = []
        blocked = frozenset(disabled)
        for entry, distribution in found:
            self.plugins.append(self._load(entry, distribution, blocked))
        bad = [p for p in self.plugins if p.state not in ("active", "blocked")]
        if strict and bad:
            listed = "; ".join(f"{p.name} is {p.state}: {p.reason}" for p in bad)
            raise PluginError(f"BENCHGEN_STRICT_PLUGINS is set and {listed}")

    def all(self, kind: str) -> list[Registered]:
        """Every active spec of a kind (``"generator"``, ``"metric"`` ...), in order of id."""
        found = [
            Registered(spec, plugin.distribution, plugin.version)
            for plugin in self.plugins
            for spec in plugin.specs
            if type(spec) is KINDS[kind]
        ]
        return sorted(found, key=lambda registered: registered.id)

    def find(self, kind: str, wanted: str) -> Registered:
        """Look a spec up by id, or by bare name where that is unique.

        Raises:
            UnknownIdError: If there is none; offers the nearest names.
            UsageError: If the bare name is offered by several distributions.
            PluginError: If the distribution that should offer it is not active.
        """
        every = self.all(kind)
        exact = [r for r in every if wanted in (r.id, r.spec.name)]
        if len(exact) == 1:
            return exact[0]
        if exact:
            ids = " or ".join(r.id for r in exact)
            raise UsageError(f"{kind} {wanted!r} is offered more than once; say {ids}")
        inactive = [p for p in self.plugins if p.state in ("blocked", "broken", "incompatible")]
        told = "; ".join(f"plugin {p.name} is {p.state} ({p.reason})" for p in inactive)
        owner = wanted.partition("/")[0]
        owners = {p.distribution: p.state for p in sorted(self.plugins, key=_is_active)}
        if "/" in wanted and owners.get(owner, "active") != "active":
            raise PluginError(f"{kind} {wanted!r} is not to be had: {told}")
        raise UnknownIdError(kind, wanted, [r.id for r in every], told)

    def _load(self, entry: EntryPoint, dist: Distribution, disabled: frozenset[str]) -> Plugin:
        distribution = _normalised(dist.metadata["Name"])
        name = f"{distribution}/{entry.name}"
        plugin = Plugin(name, distribution, dist.version)
        third_party = distribution != GROUP
        if disabled & {distribution, name, entry.name} or ("*" in disabled and third_party):
            plugin.state, plugin.reason = "blocked", "named in BENCHGEN_DISABLE_PLUGINS"
        elif self._manager.has_plugin(name):
            plugin.state = "shadowed"
            plugin.reason = (
                f"a distribution {distribution} {self._version(name)} found earlier on the "
                "Python path offers the same plugin; uninstall one of them"
            )
        elif (wants := _unmet(dist)) is not None:
            plugin.state = "incompatible"
            plugin.reason = f"it requires {wants}; this is benchgen {__version__}"
        else:
            try:
                module = importlib.import_module(entry.module)
                implementation = _attribute(module, entry.attr)
                _check_hooks(implementation)
                self._manager.register(implementation, name)
                plugin.specs = list(self._collect(name))
            except (Exception, SystemExit) as error:  # whatever it raises must not hurt the rest
                plugin.state, plugin.reason = "broken", f"{type(error).__name__}: {error}"
                plugin.specs = []
        return plugin

    def _version(self, name: str) -> str:
        return next(p.version for p in self.plugins if p.name == name)

    def _collect(self, name: str) -> Iterator[Spec]:
        """Call each hook of one plugin by itself, and check what it returns."""
        seen: set[tuple[type[Spec], str]] = {
            (type(spec), spec.name)
            for plugin in self.plugins
            if plugin.distribution == name.partition("/")[0]
            for spec in plugin.specs
        }
        for hook, allowed in HOOKS.items():
            for implementation in getattr(self._manager.hook, hook).get_hookimpls():
                if implementation.plugin_name != name:
                    continue
                for spec in implementation.function():
                    if type(spec) not in allowed:
                        expected = " or ".join(cls.__name__ for cls in allowed)
                        raise TypeError(
                            f"{hook} returned {type(spec).__name__}; expected {expected}"
                        )
                    if (type(spec), spec.name) in seen:
                        raise ValueError(f"{hook} registers {spec.name!r} twice")
                    seen.add((type(spec), spec.name))
                    yield spec


def _is_active(plugin: Plugin) -> bool:
    return plugin.state == "active"


@cache
def host() -> Host:
    """The host of this process, from the environment's distributions and switches."""
    disabled = re.split(r"[\s,]+", os.environ.get("BENCHGEN_DISABLE_PLUGINS", "").strip())
    strict = os.environ.get("BENCHGEN_STRICT_PLUGINS", "") not in ("", "0")
    return Host(_entry_points(), disabled=filter(None, disabled), strict=strict)


def with_defaults(registered: Registered, given: dict[str, Any], where: str) -> dict[str, Any]:
    """Check parameters against a spec's schema and fill in its defaults.

    Raises:
        SuiteError: If a parameter is unknown or does not fit its schema; names it.
    """
    import jsonschema

    spec = registered.spec
    for name, value in given.items():
        if name not in spec.parameters:
            near = difflib.get_close_matches(name, spec.parameters, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "it has: "
            if not near:
                hint += ", ".join(spec.parameters) or "none"
            raise SuiteError(f"{where}: {registered.id} has no parameter {name!r}; {hint}")
        try:
            jsonschema.validate(value, dict(spec.parameters[name]))
        except jsonschema.ValidationError as error:
            raise SuiteError(
                f"{where}: parameter {name!r} of {registered.id}: {error.message}"
            ) from None
    return spec.defaults() | given


def _entry_points() -> Iterator[tuple[EntryPoint, Distribution]]:
    """Entry points of the group in path order, those of a second copy of a distribution too."""
    bundled_first: list[tuple[EntryPoint, Distribution]] = []
    places: set[tuple[str, str]] = set()
    for dist in distributions():
        if f"[{GROUP}]" not in (dist.read_text("entry_points.txt") or ""):
            continue
        place = (dist.metadata["Name"], str(dist.locate_file("")))
        if place in places:  # one folder may stand on the path twice
            continue
        places.add(place)
        bundled_first += [(e, dist) for e in dist.entry_points if e.group == GROUP]
    bundled_first.sort(key=lambda pair: _normalised(pair[1].metadata["Name"]) != GROUP)
    yield from bundled_first


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _unmet(dist: Distribution) -> str | None:
    """The distribution's requirement on benchgen, if this benchgen does not meet it."""
    for line in dist.requires or ():
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if (
            _normalised(requirement.name) == GROUP
            and (requirement.marker is None or requirement.marker.evaluate({"extra": ""}))
            and not requirement.specifier.contains(__version__, prereleases=True)
        ):
            return str(requirement)
    return None


def _attribute(module: Any, path: str | None) -> Any:
    for part in filter(None, (path or "").split(".")):
        module = getattr(module, part)
    return module


def _check_hooks(plugin: Any) -> None:
    """Refuse a misspelt hook, or a hook that lacks its mark, naming the near match."""
    for name in dir(plugin):
        value = getattr(plugin, name, None)
        marked = hasattr(value, f"{GROUP}_impl")
        if name in HOOKS and callable(value) and not marked:
            raise AttributeError(f"{name} lacks the mark @benchgen.hookimpl")
        if name not in HOOKS and (marked or (name.startswith(f"{GROUP}_") and callable(value))):
            near = difflib.get_close_matches(name, HOOKS, n=1, cutoff=0.3)
            known = f"did you mean {near[0]}?" if near else f"hooks are {', '.join(HOOKS)}"
            raise AttributeError(f"there is no hook {name}; {known}")
