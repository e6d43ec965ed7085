"""From a suite to a run with its report: what `benchgen.run` and the command do."""

from __future__ import annotations

import os
from pathlib import Path

from benchgen.runs.comparison import Comparison
from benchgen.runs.directory import Run
from benchgen.runs.engine import execute
from benchgen.runs.passes import Observer
from benchgen.suite import Suite


def run(
    suite: Suite | str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    trust_code: bool = False,
) -> Run:
    """Evaluate a suite, or go on with a run that was begun, and write its report.

    Args:
        suite: A suite, the path of a suite file, or the name of a bundled suite.
        out: The run directory; default ``runs/<name>-<hash of the suite without n>``.
        trust_code: Whether sources and extractors that are code (``module:callable``,
            ``torchscript:PATH``) may be run. No suite can say so.

    Returns:
        The run. Rows that failed are in ``run.failures``; the others are finished.

    Raises:
        SuiteError, UnknownIdError, PluginError, ImageError, WeightsError: If the suite cannot
            be carried out; nothing was sampled then.
        UsageError: If it would run code that is not trusted.
        StoreError: If results cannot be written (a full disk, say).
    """
    return evaluate(open_suite(suite), out, Silent(), trust_code=trust_code)


def evaluate(
    suite: Suite,
    out: str | os.PathLike[str] | None,
    observer: Observer,
    *,
    trust_code: bool = False,
) -> Run:
    """What ``run`` does, with somebody watching."""
    finished = execute(suite, out, observer, trust_code=trust_code)
    if not _is_reported(finished):
        from benchgen.report.build import write_report  # loads matplotlib

        write_report(Comparison.of([finished]), finished.report.parent)
    return finished


def _is_reported(finished: Run) -> bool:
    """Whether the report was written after the run: the page comes last, as run.json does."""
    written = finished.directory / "run.json"
    return (
        finished.report.is_file()
        and finished.report.stat().st_mtime_ns >= written.stat().st_mtime_ns
    )


def open_suite(suite: Suite | str | os.PathLike[str]) -> Suite:
    """A suite from itself, from a file, or from the name of a bundled one."""
    if isinstance(suite, Suite):
        return suite
    path = Path(suite)
    return Suite.load(path) if path.suffix == ".toml" else Suite.bundled(str(suite))


class Silent:
    """An observer that shows nothing."""

    def begin(self, row: str, total: int, done: int) -> None: ...
    def advance(self, row: str, images: int) -> None: ...
    def end(self, row: str) -> None: ...
    def message(self, text: str) -> None: ...
