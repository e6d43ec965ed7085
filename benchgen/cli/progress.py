"""Progress of a run in the terminal: images per second and time left, a line per row."""

from __future__ import annotations

from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class RichObserver:
    """An observer that draws progress bars on a console.

    Where the command ``resumes``, bars count images, of which some may be stored, and being
    interrupted loses nothing; else they count whatever is done.
    """

    def __init__(self, console: Console, *, resumes: bool = True) -> None:
        self._console = console
        self._resumes = resumes
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            *([_Speed()] if resumes else []),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._progress.stop()
        if kind is KeyboardInterrupt and self._resumes:
            self._console.print("interrupted; the same command goes on from here")

    def begin(self, row: str, total: int, done: int) -> None:
        """Show a bar for the row, starting at what is stored already."""
        self._tasks[row] = self._progress.add_task(
            escape(row), total=total, completed=done, stored=done
        )

    def advance(self, row: str, images: int) -> None:
        """Move the row's bar on."""
        self._progress.advance(self._tasks[row], images)

    def end(self, row: str) -> None:
        """Stop the row's clock."""
        self._progress.stop_task(self._tasks[row])

    def message(self, text: str) -> None:
        """Print a line above the bars."""
        self._console.print(f"[yellow]•[/] {escape(text)}", highlight=False)


class _Speed(TextColumn):
    """Images per second of what was made now; what came from the store does not count."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        made = task.completed - task.fields["stored"]
        elapsed = task.finished_time or task.elapsed
        if not made:
            return Text("stored" if task.completed else "", style="dim")
        return Text(f"{made / elapsed:,.0f} images/s" if elapsed else "", style="cyan")
