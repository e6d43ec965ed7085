"""Runs of generators whose quality is known, for a board."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import benchgen
from benchgen.images.embedded import load_digits
from benchgen.runs.directory import Run
from tests.conftest import InstallPlugin
from tests.leaderboard import postgres

BLURRY = """
    import torch
    import numpy as np
    from benchgen import GeneratorSpec, hookimpl

    class Copies:
        def __init__(self, noise=0.0, shift=0):
            self.noise, self.shift = noise, shift
            self.images = torch.from_numpy(np.load({path!r})).float()[:, None] / 255

        def sample(self, batch):
            chosen = (batch.indices + self.shift) % len(self.images)
            images = self.images[chosen]
            return (images + self.noise * batch.normal(1, 28, 28)).clamp(0, 1)

    @hookimpl
    def benchgen_generators():
        return [GeneratorSpec(
            name="copies", factory=__name__ + ":Copies", resolution=(28, 28), channels=1,
            parameters={{"noise": {{"type": "number", "default": 0.0}},
                        "shift": {{"type": "integer", "default": 0}}}},
            license="MIT", training_data="digits",
        )]
"""

MakeRun = Callable[..., Run]


@pytest.fixture
def scored(install_plugin: InstallPlugin, tmp_path: Path) -> MakeRun:
    """``scored({"a": 0.1, "b": 0.3})``: a run of models by the noise that they add."""
    images = next(load_digits("reference").read(range(900), 900)).images[:, 0].numpy()
    for name, part in (("reals", images[:300]), ("held", images[300:600]), ("own", images[600:])):
        np.save(tmp_path / f"{name}.npy", part)
    install_plugin("acme", BLURRY.format(path=str(tmp_path / "own.npy")))

    def made(noises: dict[str, float], folder: str = "run", **changes: Any) -> Run:
        suite = {
            "name": "board",
            "reference": {
                "source": str(tmp_path / "reals.npy"),
                "real": str(tmp_path / "held.npy"),
            },
            "generators": [
                {"source": "acme/copies", "name": name, "params": {"noise": noise}}
                for name, noise in noises.items()
            ],
            "extractors": ["digits"],
            "metrics": ["fid", "kid", "precision"],
            "noise": False,
            "n": 250,
            **changes,
        }
        return benchgen.run(benchgen.Suite.model_validate(suite), tmp_path / folder)

    return made


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run of the rows `a` and `real`, which is made once."""
    place = tmp_path_factory.mktemp("small")
    images = next(load_digits("reference").read(range(360), 360)).images[:, 0].numpy()
    for name, part in (("reals", images[:120]), ("held", images[120:240]), ("a", images[240:])):
        np.save(place / f"{name}.npy", part)
    suite = {
        "reference": {"source": str(place / "reals.npy"), "real": str(place / "held.npy")},
        "generators": [{"source": str(place / "a.npy"), "name": "a"}],
        "extractors": ["digits"],
        "metrics": ["kid", "precision"],
        "noise": False,
        "n": 100,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCHGEN_CACHE", str(place / "cache"))
        yield benchgen.run(benchgen.Suite.model_validate(suite), place / "run")


Renamed = Callable[[Mapping[str, float]], Path]


@pytest.fixture
def renamed(small_run: Run, tmp_path: Path) -> Renamed:
    """``renamed({"m1": 0.1, "m2": 0.3})``: `a` of the small run as others, without pictures."""
    numbers = count()

    def made(values: Mapping[str, float]) -> Path:
        folder = tmp_path / f"renamed{next(numbers)}"
        shutil.copytree(small_run.directory / "columns", folder / "columns")
        (folder / "results").mkdir()
        shutil.copy(small_run.directory / "results/real.json", folder / "results")
        row = small_run["a"].document
        for name, value in values.items():
            changes = {
                "source": row.source.model_copy(update={"name": name}),
                "estimates": [one.model_copy(update={"value": value}) for one in row.estimates],
            }
            text = row.model_copy(update=changes).model_dump_json()
            (folder / "results" / f"{name}.json").write_text(text)
        whole = small_run.document.model_copy(update={"rows": [*values, "real"]})
        (folder / "run.json").write_text(whole.model_dump_json())
        return folder

    return made


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The folder of a PostgreSQL server's socket."""
    with postgres.server() as folder:
        yield folder


MakeAddress = Callable[[str], str]


@pytest.fixture
def address_of(request: pytest.FixtureRequest, tmp_path: Path) -> MakeAddress:
    """``address_of("sqlite")``: where no board is yet."""
    numbers = count()

    def made(kind: str) -> str:
        place = tmp_path / f"board{next(numbers)}"
        if kind == "folder":
            return str(place)
        if kind == "sqlite":
            return f"sqlite:///{place}.sqlite"
        return postgres.database(request.getfixturevalue("server"))

    return made
