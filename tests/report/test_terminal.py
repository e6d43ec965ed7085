import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from benchgen.report.terminal import render
from benchgen.runs.comparison import Comparison

from .conftest import SCORES


def shown(comparison: Comparison, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(render(comparison))
    return console.export_text()


@pytest.mark.parametrize("width", [80, 120, 200])
def test_every_score_is_whole_at_every_width(comparison: Comparison, width: int) -> None:
    text = shown(comparison, width)
    assert max(map(len, text.splitlines())) <= width
    for score in ("12.84 ± 0.33 ★", "−0.030 ± 0.060", "0.9510 ± 0.0060", "1.0830 ± 0.0040"):
        assert text.count(score) == 1
    for heading in ("FID ↓", "KID ×10³ ↓", "Coverage ↑"):
        assert heading in text


def test_metrics_become_rows_where_columns_do_not_fit(comparison: Comparison) -> None:
    (line,) = (line for line in shown(comparison, 120).splitlines() if line.startswith("FID ↓"))
    assert "12.84 ± 0.33 ★" in line
    assert "21.37 ± 0.41" in line


def test_ties_undefined_warnings_and_failures(make_run: Callable[..., Path]) -> None:
    scores = {
        "a": {"fid": (10.0, 1.0), "kid": (None, None)},
        "b": {"fid": (10.5, 1.0), "kid": (0.01, 0.001)},
        "[red]c": {},
    }
    run = make_run(
        scores=scores, errors={"[red]c": "boom"}, warnings={"a": [f"w{i}" for i in range(7)]}
    )
    (run / "report").mkdir()
    (run / "report" / "index.html").touch()
    text = shown(Comparison.of([run]), 80)
    assert "10.5 ± 1.0 ≈" in text
    assert "–¹" in text
    assert "¹ undefined: n is 200 and must exceed d = 2048" in text
    assert "nan" not in text.lower()
    assert "failed: [red]c: boom" in text
    assert "7 warnings:" in text
    assert "and 2 more" in text
    assert "report/index.html" in text.replace("\n", "")


def test_twelve_rows_at_eighty_columns(make_run: Callable[..., Path]) -> None:
    scores = {f"model-{i:02d}": SCORES["gan"] for i in range(12)}
    text = shown(Comparison.of([make_run(scores=scores, classes=False, shown=0)]), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
