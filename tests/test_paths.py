from pathlib import Path

import pytest

from benchgen.paths import cache_dir, offline


def test_cache_dir_prefers_its_own_variable_then_xdg_then_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.delenv("BENCHGEN_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_dir() == tmp_path / "home" / ".cache" / "benchgen"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "benchgen"
    monkeypatch.setenv("BENCHGEN_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"


def test_a_relative_xdg_folder_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCHGEN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_dir() == Path.home() / ".cache" / "benchgen"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, False), ("", False), ("0", False), ("false", False), ("1", True), ("Yes", True)],
)
def test_offline(monkeypatch: pytest.MonkeyPatch, value: str | None, expected: bool) -> None:
    monkeypatch.delenv("BENCHGEN_OFFLINE", raising=False)
    if value is not None:
        monkeypatch.setenv("BENCHGEN_OFFLINE", value)
    assert offline() is expected
