import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from benchgen.images.hashes import HashMemory, stamp_of
from benchgen.paths import cache_dir

OLD = (10, 1, 2, 3)


def memory_of(files: dict[str, str]) -> HashMemory:
    memory = HashMemory("/some/place")
    for name, found in files.items():
        memory.remember(name, OLD, found)
    memory.save()
    return HashMemory("/some/place")


def test_a_hash_is_recalled_while_every_part_of_the_stamp_is_the_same() -> None:
    memory = memory_of({"a.png": "ff"})
    assert memory.recall("a.png", OLD) == "ff"
    assert memory.recall("b.png", OLD) is None
    assert memory.recall("a.png", None) is None
    for part in range(4):
        other = tuple(value + (at == part) for at, value in enumerate(OLD))
        assert memory.recall("a.png", other) is None  # type: ignore[arg-type]


def test_what_is_gone_is_forgotten() -> None:
    memory = memory_of({"a.png": "ff", "b.png": "ee"})
    memory.recall("a.png", OLD)
    memory.save()
    assert HashMemory("/some/place").recall("b.png", OLD) is None
    assert HashMemory("/some/place").recall("a.png", OLD) == "ff"


def test_names_that_are_not_utf8_are_remembered() -> None:
    assert memory_of({"b\udcff.png": "ff"}).recall("b\udcff.png", OLD) == "ff"


def test_a_file_of_the_last_two_seconds_or_of_the_future_is_not_remembered(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    memory = HashMemory("/some/place")
    memory.remember("a", stamp_of(tmp_path / "a"), "ff")
    memory.remember("b", (1, time.time_ns() + 10**12, 2, 3), "ee")
    memory.save()
    assert not (cache_dir() / "hashes").exists()


def test_processes_that_write_at_once_leave_a_whole_memory() -> None:
    code = """
        from benchgen.images.hashes import HashMemory
        for turn in range(60):
            memory = HashMemory("/some/place")
            for name in range(300):
                stamp = (name, 1, 2, 3)
                found = memory.recall(str(name), stamp)
                assert found in (None, "f" * 64), found
                memory.remember(str(name), stamp, "f" * 64)
            memory.remember("turn", (turn, 1, 2, 3), "0")
            memory.save()
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    running = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    (path,) = (cache_dir() / "hashes").iterdir()
    assert len(json.loads(path.read_text())["files"]) == 301
