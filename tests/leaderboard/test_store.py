"""A board is the same board in a folder, in SQLite and in PostgreSQL."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import Engine

from benchgen.errors import NotComparableError, StoreError, UsageError
from benchgen.files import write_atomically
from benchgen.hashing import seal
from benchgen.leaderboard.board import Board
from benchgen.leaderboard.checks import examine
from benchgen.leaderboard.store.schema import METADATA, VERSION_TABLE, is_current, upgrade
from benchgen.runs.directory import Run
from tests.leaderboard.conftest import MakeAddress, Renamed

_processes = get_context("forkserver")
_processes.set_forkserver_preload([__name__])  # one process imports torch, for all of them

KINDS = ("folder", "sqlite", "postgresql")
DATABASES = ("sqlite", "postgresql")


@pytest.fixture(params=KINDS)
def address(request: pytest.FixtureRequest, address_of: MakeAddress) -> str:
    """Where an empty board is."""
    where = address_of(request.param)
    Board.begin(where, "Digits", {"kid@digits": 2.0})
    return where


@contextmanager
def _database(address: str) -> Iterator[Connection]:
    engine = create_engine(address.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def _contents(folder: str | Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def _overwrite(address: str, name: str, content: bytes) -> None:
    """A file of the first revision of `a`."""
    if "://" not in address:
        (Path(address) / "models/a/0001" / name).write_bytes(content)
        return
    with _database(address) as connection:
        changed = connection.execute(
            text(
                "UPDATE leaderboard_file SET content = :content "
                "WHERE model = 'a' AND revision = 1 AND name = :name"
            ),
            {"content": content, "name": name},
        )
        assert changed.rowcount == 1


def test_rows_are_added_replaced_and_recognised(
    address: str, small_run: Run, renamed: Renamed
) -> None:
    board = Board(address)
    assert board.add(small_run, by="Ada")[0].outcome == "added"
    assert board.add(small_run, by="Bob")[0].outcome == "already there"
    [replaced] = Board(address).add(renamed({"a": 1.5}), by="Bob")
    assert (replaced.outcome, replaced.revision) == ("replaced", 2)
    board = Board(address)
    assert board.document.weights == {"kid@digits": 2.0}
    assert list(board.entries) == ["a", "real"]
    assert [entry.document.by for entry in board.history("a")] == ["Ada", "Bob"]
    assert board.models["a"].result.record("kid").value == 1.5
    influence = board.models["a"].result.estimate("kid").influence.fake
    assert influence is not None
    assert len(influence) == 100
    assert board.comparison.results.keys() == {"a", "real"}
    assert board.damaged() == {}
    with pytest.raises(UsageError, match="is there already"):
        Board.begin(address, "again")
    with pytest.raises(UsageError, match="no model 'b'; it has: a, real"):
        board.history("b")


def test_what_was_made_otherwise_is_refused(address: str, renamed: Renamed) -> None:
    board = Board(address)
    board.add(renamed({"a": 0.1}), by="Ada")
    other = renamed({"b": 0.1})
    path = other / "results/b.json"
    document = json.loads(path.read_text())
    for fields in document["fingerprints"].values():
        fields["n"] = 99
    path.write_text(json.dumps(document))
    with pytest.raises(NotComparableError, match="n is None and 99"):
        board.add(other, by="Bob")
    for fields in document["fingerprints"].values():
        del fields["n"]
        fields["metric"]["version"] = "99"
    path.write_text(json.dumps(document))
    with pytest.raises(NotComparableError, match=r"metric\.version is '1' and '99'"):
        board.add(other, by="Bob")
    for name in ("..", "<script>", "a\nb", "a" * 90):
        with pytest.raises(UsageError, match="cannot be on a board: a name has 1 to 80 letters"):
            board.add(renamed({name: 0.1}), by="Bob")
    assert list(Board(address).models) == ["a"]


def test_a_changed_entry_is_refused_and_named(address: str, small_run: Run) -> None:
    Board(address).add(small_run, by="Ada")
    _overwrite(address, "results/a.json", b"{}")
    board = Board(address)
    told = "models/a/0001/results/a.json was changed after it was added"
    with pytest.raises(StoreError, match=told):
        _ = board.entries
    [finding] = examine(board)
    assert (finding.kind, finding.model) == ("error", "a")
    assert finding.text.startswith(board.address)


def test_a_copy_is_the_same_byte_for_byte(
    address_of: MakeAddress, small_run: Run, renamed: Renamed
) -> None:
    first = Board.begin(address_of("folder"), "Digits", {"kid@digits": 2.0})
    first.add(small_run, by="Ada")
    first.add(renamed({"a": 1.5, "é (2)": 2.0}), by="Bob")
    before = _contents(first.address)
    (Path(first.address) / "models/a/.adding-x").mkdir()
    board = first
    for kind in ("sqlite", "postgresql", "folder"):
        where = address_of(kind)
        board = board.copy(where)
    assert _contents(where) == before
    assert [entry.document.by for entry in board.history("a")] == ["Ada", "Bob"]
    assert first.copy(address_of("folder")).damaged() == {}


def test_nothing_is_copied_onto_something(
    address: str, address_of: MakeAddress, tmp_path: Path
) -> None:
    board = Board.begin(address_of("folder"), "Mine")
    with pytest.raises(UsageError, match="not empty"):
        board.copy(address)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").touch()
    with pytest.raises(UsageError, match="not empty"):
        board.copy(tmp_path / "other")
    assert Board(address).document.title == "Digits"


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_that_fails_leaves_no_board(
    kind: str, address_of: MakeAddress, renamed: Renamed
) -> None:
    where = address_of("folder")
    board = Board.begin(where, "Digits")
    board.add(renamed({"a": 0.1, "b": 0.2, "c": 0.3}), by="Ada")
    (Path(where) / "models/b/0001/results/b.json").write_text("{}")
    target = address_of(kind)
    with pytest.raises(StoreError, match=r"b\.json was changed"):
        board.copy(target)
    with pytest.raises(UsageError, match="Begin one: benchgen leaderboard init"):
        Board(target)
    shutil.rmtree(Path(where) / "models/b")
    assert list(board.copy(target).models) == ["a", "c"]


@pytest.mark.parametrize(
    ("name", "listed", "told"),
    [
        ("../../evil", False, "does not belong"),
        ("images/evil.svg", False, "does not belong"),
        ("../../evil", True, "is not within the entry"),
        ("/tmp/evil", True, "is not within the entry"),
        ("a/../evil", True, "is not within the entry"),
        ("evil\x00.json", True, "is not within the entry"),
        ("", True, "is not within the entry"),
        (".", True, "is not within the entry"),
    ],
)
def test_hostile_names_in_a_database_are_refused(
    address_of: MakeAddress, small_run: Run, tmp_path: Path, name: str, listed: bool, told: str
) -> None:
    where = address_of("sqlite")
    board = Board.begin(where, "Digits")
    board.add(small_run, by="Ada")
    document = json.loads(board.models["a"].document.model_dump_json())
    with _database(where) as connection:
        connection.execute(
            text("INSERT INTO leaderboard_file VALUES ('a', 1, :name, :content)"),
            {"name": name, "content": b"evil"},
        )
    if listed:
        document["files"][name] = hashlib.sha256(b"evil").hexdigest()
        document["sha256"] = seal(document)
        _overwrite(where, "entry.json", json.dumps(document).encode())
    _refused(where, tmp_path, told)


@pytest.mark.parametrize("place", ["columns", "picture"])
def test_a_run_that_leads_outside_its_entry_is_refused(
    address: str, small_run: Run, place: str
) -> None:
    board = Board(address)
    board.add(small_run, by="Ada")
    entry = board.models["a"]
    document = json.loads((entry.directory / "results/a.json").read_text())
    if place == "columns":
        document["columns"] = "../evil"
    else:
        document["exhibits"]["sample"][0]["file"] = "../evil"
    content = json.dumps(document).encode()
    files = {**entry.document.files, "results/a.json": hashlib.sha256(content).hexdigest()}
    changed = entry.document.model_copy(update={"files": files})
    whole = changed.model_copy(update={"sha256": seal(changed.model_dump(mode="json"))})
    _overwrite(address, "results/a.json", content)
    _overwrite(address, "entry.json", whole.model_dump_json().encode())
    assert "names '../evil', which is not within" in str(Board(address).damaged()["a"])


@pytest.mark.parametrize("model", ["../../evil", "..", "/tmp/evil", "b"])
def test_a_model_is_what_its_entry_says(
    address_of: MakeAddress, small_run: Run, tmp_path: Path, model: str
) -> None:
    where = address_of("sqlite")
    Board.begin(where, "Digits").add(small_run, by="Ada")
    with _database(where) as connection:
        for table in ("leaderboard_entry", "leaderboard_file"):
            connection.execute(
                text(f"UPDATE {table} SET model = :model WHERE model = 'a'"), {"model": model}
            )
    _refused(where, tmp_path, "says that it is revision 1 of a")


def _refused(where: str, folder: Path, told: str) -> None:
    there = {*folder.rglob("*")}
    board = Board(where)
    with pytest.raises(StoreError, match=told):
        _ = board.entries
    with pytest.raises(StoreError, match=told):
        board.copy(folder / "copy")
    assert not (folder / "copy/board.json").exists()
    assert [path for path in folder.rglob("*evil*")] == []
    assert {*folder.rglob("*")} - there <= {folder / "copy", folder / "copy/models"}


def test_large_files_and_text_in_a_database_are_refused(
    address_of: MakeAddress, small_run: Run
) -> None:
    where = address_of("sqlite")
    Board.begin(where, "Digits").add(small_run, by="Ada")
    for content, told in (
        ("'text'", "run.json was changed"),
        ("zeroblob(20000001)", "20,000,001 bytes; 20,000,000 are allowed"),
    ):
        with _database(where) as connection:
            connection.execute(
                text(f"UPDATE leaderboard_file SET content = {content} WHERE name = 'run.json'")
            )
        assert told in str(Board(where).damaged()["a"])


@pytest.mark.parametrize("kind", DATABASES)
def test_the_tables_are_those_of_the_migrations(kind: str, address_of: MakeAddress) -> None:
    where = address_of(kind)
    Board.begin(where, "Digits")
    with _database(where) as connection:
        assert is_current(connection, where)
        upgrade(connection, where)
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        assert (
            compare_metadata(MigrationContext.configure(connection, opts=options), METADATA) == []
        )


@pytest.mark.parametrize("kind", DATABASES)
def test_a_database_of_a_newer_benchgen_or_without_a_board_is_told(
    kind: str, address_of: MakeAddress
) -> None:
    where = address_of(kind)
    with pytest.raises(UsageError, match="Begin one: benchgen leaderboard init"):
        Board(where)
    with _database(where) as connection:
        connection.execute(text("CREATE TABLE mine (id INTEGER)"))
    with pytest.raises(UsageError, match="Begin one: benchgen leaderboard init"):
        Board(where)
    Board.begin(where, "Digits")
    with _database(where) as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '999'"))
    for opened in (Board, lambda where: Board.begin(where, "again")):
        with pytest.raises(StoreError, match=r"has the schema 999; .*Upgrade benchgen"):
            opened(where)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "board.sqlite").write_bytes(b"hello " * 1000)
    with pytest.raises(StoreError, match="file is not a database"):
        Board(f"sqlite:///{tmp_path}/board.sqlite")
    assert not (tmp_path / "nowhere.sqlite").exists()
    with pytest.raises(UsageError, match="Begin one"):
        Board(f"sqlite:///{tmp_path}/nowhere.sqlite")
    assert not (tmp_path / "nowhere.sqlite").exists()


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://ada:secret@127.0.0.1:1/board",
        "postgresql://ada@127.0.0.1:1/board?password=secret",
        "postgresql://ada:my@secret@127.0.0.1:1/board",
        "postgresql://ada:secret@127.0.0.1:port/board",
        "postgresql://ada/b:secret@127.0.0.1:1/board",
        "mysql://ada:secret@127.0.0.1/board",
        "sqlite://secret",
        "sqlite://",
    ],
)
def test_no_message_has_a_password(address: str) -> None:
    with pytest.raises((StoreError, UsageError)) as told:
        Board(address)
    assert "secret" not in str(told.value)


def test_what_is_not_installed_is_told_and_folders_do_without(tmp_path: Path) -> None:
    without = dict.fromkeys(("sqlalchemy", "benchgen.leaderboard.store.database"))
    with (
        mock.patch.dict(sys.modules, without),
        pytest.raises(UsageError, match=r"pip install 'benchgen\[database\]'"),
    ):
        Board("sqlite:///board.sqlite")
    code = (
        "import sys; from benchgen.leaderboard.board import Board;"
        "Board.begin(sys.argv[1], 'Digits').entries;"
        "print([m for m in ('sqlalchemy', 'alembic', 'psycopg') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "board")]
    assert subprocess.check_output(command, text=True).strip() == "[]"


def _die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_while_adding(address: str, run: Path) -> None:
    """After the first file of a folder, or the first row of a database."""

    @event.listens_for(Engine, "after_cursor_execute")
    def _(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO leaderboard_entry"):
            _die()

    def write(path: Path, content: bytes) -> None:
        write_atomically(path, content)
        _die()

    with mock.patch("benchgen.leaderboard.store.folder.write_atomically", write):
        Board(address).add(run, by="Bob")


def test_a_process_that_is_killed_while_it_adds_leaves_a_whole_board(
    address: str, small_run: Run, renamed: Renamed
) -> None:
    Board(address).add(small_run, by="Ada")
    other = renamed({"b": 0.1})
    process = _processes.Process(target=_die_while_adding, args=(address, other))
    process.start()
    process.join(100)
    assert process.exitcode == -signal.SIGKILL
    assert Board(address).damaged() == {}
    assert list(Board(address).models) == ["a"]
    [added] = Board(address).add(other, by="Bob")
    assert (added.outcome, added.revision) == ("added", 1)


def _add(address: str, run: Path) -> list[tuple[str, int]]:
    return [(one.model, one.revision) for one in Board(address).add(run, by=run.name)]


@pytest.mark.parametrize("kind", DATABASES)
def test_eight_processes_that_add_a_hundred_results_each_lose_and_double_nothing(
    kind: str, address_of: MakeAddress, renamed: Renamed
) -> None:
    where = address_of(kind)
    Board.begin(where, "Digits")
    models = [f"m{place:02d}" for place in range(100)]
    runs = [renamed(dict.fromkeys(models, float(place))) for place in range(8)]
    with ProcessPoolExecutor(8, mp_context=_processes) as workers:
        added = [one for found in workers.map(_add, [where] * 8, runs) for one in found]
    assert Counter(added) == Counter((model, place) for model in models for place in range(1, 9))
    board = Board(where)
    assert len(board.history("real")) == 1
    assert board.damaged() == {}
    for model in models[::25]:
        assert {entry.document.by for entry in board.history(model)} == {run.name for run in runs}
