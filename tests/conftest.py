"""Every test runs with a cache of its own, offline, and with a fresh plugin host."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchgen.host.loader import host

InstallPlugin = Callable[..., Path]
_numbers = itertools.count()  # module names are unique, since Python imports each but once


@pytest.fixture(autouse=True)
def _isolated(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    monkeypatch.setenv("BENCHGEN_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("BENCHGEN_OFFLINE", "1")
    for switch in ("BENCHGEN_DISABLE_PLUGINS", "BENCHGEN_STRICT_PLUGINS"):
        monkeypatch.delenv(switch, raising=False)
    host.cache_clear()
    yield
    host.cache_clear()


@pytest.fixture
def install_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstallPlugin:
    """Put a distribution with a benchgen plugin on the Python path, as an installer would."""

    def install(
        name: str,
        code: str,
        *,
        version: str = "1.0",
        requires: str = "benchgen",
        entry: str = "plugin",
        where: str = "site",
    ) -> Path:
        site = tmp_path / where
        module = f"{name.replace('-', '_')}_{next(_numbers)}"
        information = site / f"{name.replace('-', '_')}-{version}.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: {requires}\n"
        )
        (information / "entry_points.txt").write_text(f"[benchgen]\n{entry} = {module}\n")
        (site / f"{module}.py").write_text(textwrap.dedent(code))
        monkeypatch.syspath_prepend(str(site))
        host.cache_clear()
        return site

    return install
