"""The self-test in the documentation says what the committed self-test found."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchgen.doctor.documents import DoctorDocument
from benchgen.doctor.examine import examine
from benchgen.doctor.pages import FOLDER, FOUND, line, pages
from benchgen.errors import UnknownIdError, UsageError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def document() -> DoctorDocument:
    return examine(n=60, metrics=["is", "modes", "nll"], defects=["dropped"]).document


def test_pages_are_not_stale() -> None:
    if not (ROOT / "reports").exists():
        pytest.skip("reports/, the folder of committed results, is not in this tree")
    committed = DoctorDocument.model_validate_json((ROOT / FOUND).read_text(encoding="utf-8"))
    for path, text in pages(committed, ROOT / FOLDER).items():
        assert path.read_text(encoding="utf-8") == text, (
            f"{path.name} is stale: python -m benchgen.doctor.pages"
        )


def test_each_line_is_that_of_the_metric_above_it(document: DoctorDocument, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    text = "# Page\n\n## `is`\n\n*Self-test.* old\n\n### More\n\nkept\n\n## `nll`\n\n*Self-test.*\n"
    page.write_text(text)
    (tmp_path / "self-test.md").write_text("*Self-test.* old")
    found = pages(document, tmp_path)
    assert found[page] == (
        f"# Page\n\n## `is`\n\n{line(document, 'is')}\n\n### More\n\nkept\n\n## `nll`\n\n"
        f"{line(document, 'nll')}\n"
    )
    page.write_text(found[page])
    assert pages(document, tmp_path) == found


def test_lines_name_the_images_the_features_and_the_verdict(document: DoctorDocument) -> None:
    said = line(document, "is")
    assert said.startswith(
        "*Self-test.* On the embedded digits (60 images, `digits` features): sees dropped classes"
    )
    assert "any change counts" in line(document, "modes")
    assert line(document, "nll").startswith("*Self-test.* Not run on the embedded digits: it reads")


def test_the_page_with_the_table(document: DoctorDocument, tmp_path: Path) -> None:
    page = pages(document, tmp_path)[tmp_path / "self-test.md"]
    assert "| `is` | ≥" in page
    assert "Not run: `benchgen/nll`" in page
    assert document.command in page
    assert "\\~" not in page


def test_a_line_that_belongs_to_no_metric_is_refused(
    document: DoctorDocument, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text("## `is`\n\n## Other\n\n*Self-test.*\n")
    with pytest.raises(UsageError, match="below no heading of a metric"):
        pages(document, tmp_path)
    page.write_text("## `fid`\n\n*Self-test.*\n")
    with pytest.raises(UnknownIdError, match="fid"):
        pages(document, tmp_path)
