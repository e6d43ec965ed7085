import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchgen.errors import ImageError
from benchgen.images.moments import load_moments

FEATURES = np.random.default_rng(0).normal(size=(50, 6))
MU, SIGMA = FEATURES.mean(axis=0), np.cov(FEATURES, rowvar=False)


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_mean_and_covariance_are_read_in_float64(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", mu=MU, sigma=SIGMA)
    moments = load_moments(path)
    assert moments.mean.dtype == moments.covariance.dtype == torch.float64
    assert np.array_equal(moments.mean.numpy(), MU)
    np.testing.assert_allclose(moments.covariance.numpy(), SIGMA, rtol=1e-14)
    assert moments.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_other_arrays_compression_and_float32_are_accepted(tmp_path: Path) -> None:
    extra = {"arr_0": np.zeros((2, 4, 4, 3), np.uint8), "mu_s": MU, "sigma_s": SIGMA}
    np.savez_compressed(
        tmp_path / "a.npz", mu=MU.astype(np.float32), sigma=SIGMA.astype(np.float32), **extra
    )
    moments = load_moments(tmp_path / "a.npz")
    np.testing.assert_allclose(moments.mean.numpy(), MU, rtol=1e-6)
    assert torch.equal(moments.covariance, moments.covariance.T)


def test_singular_covariance_is_fine(tmp_path: Path) -> None:
    few = np.cov(FEATURES[:3].astype(np.float32), rowvar=False).astype(np.float32)
    some = load_moments(saved(tmp_path / "a.npz", mu=MU, sigma=few))
    assert torch.linalg.matrix_rank(some.covariance, atol=1e-6) == 2
    none = load_moments(saved(tmp_path / "b.npz", mu=MU, sigma=np.zeros((6, 6))))
    assert not none.covariance.any()


SKEW = SIGMA.copy()
SKEW[0, 1] += 0.01
NAN = SIGMA.copy()
NAN[2, 2] = np.nan


@pytest.mark.parametrize(
    ("mu", "sigma", "message"),
    [
        (MU, SIGMA[:5], r"found mu \[6\] and sigma \[5, 6\]; expected \[d\] and \[d, d\]"),
        (MU[None], SIGMA, r"found mu \[1, 6\]"),
        (MU[:0], SIGMA[:0, :0], r"found mu \[0\]"),
        (MU, SKEW, "not symmetric"),
        (MU, NAN, "NaN or infinity"),
        (MU * np.inf, SIGMA, "NaN or infinity"),
        (MU, SIGMA - np.eye(6), "has eigenvalues from -"),
        (MU, -np.eye(6), "has eigenvalues from -"),
        (MU.astype(int), SIGMA, "mu of type int64"),
        (MU.astype(complex), SIGMA, "mu of type complex128"),
    ],
)
def test_what_are_no_moments(
    mu: np.ndarray, sigma: np.ndarray, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match=message):
        load_moments(saved(tmp_path / "a.npz", mu=mu, sigma=sigma))


def test_missing_arrays_and_files(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="lacks sigma; it holds mu, x"):
        load_moments(saved(tmp_path / "a.npz", mu=MU, x=MU))
    with pytest.raises(ImageError, match=r"cannot be read: .*No such file"):
        load_moments(tmp_path / "absent.npz")
    (tmp_path / "b.npz").write_bytes(b"nonsense")
    with pytest.raises(ImageError, match="cannot be read: File is not a zip file"):
        load_moments(tmp_path / "b.npz")


class Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise SystemExit('the pickle was executed')",)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ImageError, match="pickled objects are never loaded"):
        load_moments(tmp_path / "a.npz")
    hostile = np.empty(1, dtype=object)
    hostile[0] = Bomb()
    saved(tmp_path / "b.npz", mu=hostile, sigma=SIGMA)
    with pytest.raises(ImageError, match="pickled objects are never loaded"):
        load_moments(tmp_path / "b.npz")
