"""Every test runs with a cache of its own, offline, a fresh plugin host, and torch seeded."""

from __future__ import annotations

import hashlib
import itertools
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

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
    torch.manual_seed(0)
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


@dataclass(frozen=True)
class Oracle:
    """torch-fidelity's own network with random weights, and the file that holds these."""

    network: Any
    path: Path
    sha256: str


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    from torch_fidelity import feature_extractor_inceptionv3 as module

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kind = module.FeatureExtractorInceptionV3
        with (
            mock.patch.object(module, "load_state_dict_from_url", return_value={}),
            mock.patch.object(kind, "load_state_dict"),
        ):
            network = kind("inception-v3-compat", ["2048", "logits_unbiased"])
        for part in network.modules():
            if isinstance(part, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(part.weight)
            elif isinstance(part, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(part.weight, 0.8, 1.2)
                torch.nn.init.normal_(part.bias, std=0.1)
                assert part.running_mean is not None
                assert part.running_var is not None
                torch.nn.init.normal_(part.running_mean, std=0.1)
                torch.nn.init.uniform_(part.running_var, 0.8, 1.2)
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(network.state_dict(), path)
    return Oracle(network, path, hashlib.sha256(path.read_bytes()).hexdigest())
