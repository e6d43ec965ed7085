"""Code of the user's own runs where the command says so, and never because a suite does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import benchgen
from benchgen.errors import SuiteError, UsageError
from benchgen.suite import Suite

CODE = """
import numpy as np
import torch

from pathlib import Path

Path({trace!r}).touch()

def images(count=60, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)

def features():
    return lambda images: images.mean((2, 3))
"""


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a module ``mine_code`` leaves a trace of having been imported."""
    path = tmp_path / "imported"
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "mine_code.py").write_text(CODE.format(trace=str(path)))
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    monkeypatch.delitem(__import__("sys").modules, "mine_code", raising=False)
    return path


def suite(**fields: object) -> Suite:
    return Suite.model_validate(
        {
            "reference": {"source": "mine_code:images", "params": {"seed": 1}, "real": "none"},
            "generators": ["mine_code:images"],
            "extractors": ["pixels"],
            "metrics": ["kid"],
            **fields,
        }
    )


def test_a_callable_is_a_source_where_it_is_trusted(trace: Path, tmp_path: Path) -> None:
    run = benchgen.run(suite(), tmp_path / "run", trust_code=True)
    assert trace.exists()
    assert list(run) == ["images", "noise"]
    assert run["images"].document.source.kind == "callable"
    assert run.document.reference is not None
    assert run.document.reference.parameters == {"seed": 1}
    assert run.document.command.endswith(" --trust-code")


def test_untrusted_code_is_never_imported(trace: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--trust-code"):
        benchgen.run(suite(), tmp_path / "run")
    np.save(tmp_path / "real.npy", np.zeros((60, 8, 8, 3), dtype=np.uint8))
    plain = {"reference": str(tmp_path / "real.npy"), "generators": []}
    for extractor in ("mine_code:features", "torchscript:net.pt"):
        with pytest.raises(UsageError, match="--trust-code"):
            benchgen.run(suite(**plain, extractors=[extractor]), tmp_path / "run")
    assert not trace.exists()


def test_a_callable_is_an_extractor_where_it_is_trusted(trace: Path, tmp_path: Path) -> None:
    asked = suite(extractors=["mine_code:features"], metrics=["fid"])
    run = benchgen.run(asked, tmp_path / "run", trust_code=True)
    (record,) = run["images"].document.estimates
    assert record.value is not None


@pytest.mark.parametrize("field", ["trust_code", "trust-code"])
def test_a_suite_cannot_grant_it(field: str) -> None:
    with pytest.raises(SuiteError, match="there is no such field"):
        Suite.parse(f'reference = "digits"\n{field} = true\n')
    with pytest.raises(SuiteError, match="there is no such field"):
        Suite.parse(f'[reference]\nsource = "a:b"\n{field} = true\n')


def test_fields_for_own_images_are_refused_for_plugins(tmp_path: Path) -> None:
    table = suite(reference={"source": "digits", "table": "labels.csv"}, generators=[])
    with pytest.raises(SuiteError, match=r"reference\.table: digits is a plugin's"):
        benchgen.run(table, tmp_path / "run")
    black = suite(reference="digits", generators=[{"source": "noise", "background": "black"}])
    with pytest.raises(SuiteError, match=r"generators\.0\.background: noise is a plugin's"):
        benchgen.run(black, tmp_path / "run")
