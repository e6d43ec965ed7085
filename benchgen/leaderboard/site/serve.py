"""The site over HTTP, made anew when the board has changed."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchgen.errors import BenchgenError, UsageError
from benchgen.leaderboard.board import Board
from benchgen.leaderboard.site.build import render

if TYPE_CHECKING:
    from starlette.applications import Starlette

_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def listen(address: str, host: str, port: int) -> None:
    """Serve until interrupted.

    Raises:
        UsageError: There is no board, or the extra `serve` is not installed.
        StoreError: An entry is not whole.
    """
    try:
        import uvicorn
    except ImportError:
        raise _not_installed() from None
    with tempfile.TemporaryDirectory(prefix="benchgen-site-") as folder:
        uvicorn.run(application(address, Path(folder)), host=host, port=port, log_level="info")


def application(address: str, folder: Path) -> Starlette:
    """An ASGI application; the site is kept in ``folder``.

    Raises:
        UsageError, StoreError: As ``listen``.
    """
    try:
        from starlette.applications import Starlette
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import PlainTextResponse
        from starlette.staticfiles import StaticFiles
    except ImportError:
        raise _not_installed() from None
    live = _Live(address, folder / "site")
    live.refresh()
    files = StaticFiles(directory=live.folder, html=True)

    async def site(scope: Any, receive: Any, send: Any) -> None:
        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                extra = [(k.lower().encode(), v.encode()) for k, v in _HEADERS.items()]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        if scope["path"].endswith(("/", ".html", ".json", ".csv")):
            try:
                await run_in_threadpool(live.refresh)
            except BenchgenError as error:
                told = PlainTextResponse(f"The board cannot be shown: {error}\n", status_code=500)
                await told(scope, receive, with_headers)
                return
        await files(scope, receive, with_headers)

    made = Starlette()
    made.mount("/", site)
    return made


class _Live:
    """The site in a folder, rendered again once the board has other revisions."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self.folder = address, folder
        self._shown: Any = None
        self._lock = threading.Lock()

    def refresh(self) -> None:
        with self._lock:
            board = Board(self.address)
            if board.revisions != self._shown:
                revisions = board.revisions
                render(board, self.folder)
                self._shown = revisions


def _not_installed() -> UsageError:
    return UsageError("serving needs an extra: pip install 'benchgen[serve]'")
