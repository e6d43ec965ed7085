"""A PostgreSQL server that a test starts for itself, from the programs that are installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine


@contextmanager
def server() -> Iterator[str]:
    """A server on a Unix socket, and the folder of that; skips the test where there is none."""
    initdb, pg_ctl = _program("initdb"), _program("pg_ctl")
    user = _user()
    with tempfile.TemporaryDirectory(prefix="benchgen-pg-") as made:
        if user is not None:
            shutil.chown(made, user)

        def call(*command: str | Path) -> None:
            subprocess.run(
                command, user=user, cwd=made, check=True, timeout=120, stdout=subprocess.DEVNULL
            )

        data = f"{made}/data"
        call(initdb, "-D", data, "-A", "trust", "-U", "benchgen", "-E", "UTF8", "--no-sync")
        options = f"-k {made} -c listen_addresses="
        call(pg_ctl, "-D", data, "-o", options, "-l", f"{made}/log", "-w", "start")
        try:
            yield made
        finally:
            call(pg_ctl, "-D", data, "-m", "immediate", "stop")


def database(server: str) -> str:
    """The address of a new database."""
    name = f"board_{uuid4().hex}"
    parameters = f"host={server}&user=benchgen"
    postgres = create_engine(
        f"postgresql+psycopg:///postgres?{parameters}", isolation_level="AUTOCOMMIT"
    )
    with postgres.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    postgres.dispose()
    return f"postgresql:///{name}?{parameters}"


def _program(name: str) -> Path:
    """Debian keeps these out of the path."""
    found = shutil.which(name)
    places = [Path(found)] if found else [*Path("/usr/lib/postgresql").glob(f"*/bin/{name}")]
    if not places:
        pytest.skip(f"PostgreSQL's {name} is not installed")
    return places[-1]


def _user() -> str | None:
    """Whom the server runs as: it refuses to be root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
