import csv
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchgen.report import numbers
from benchgen.report.build import write_report
from benchgen.report.html import html
from benchgen.report.text import csv as to_csv
from benchgen.report.text import json_document, markdown
from benchgen.runs.comparison import Comparison

from .conftest import METRICS, SCORES

HOSTILE = "<script>alert(1)|*"
FORMULA = "=cmd()"


class Page(HTMLParser):
    """Tags, the addresses they load, and the text of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.attributes: set[str] = set()
        self.scores: list[tuple[float, str]] = []
        self.text = ""
        self._value: float | None = None
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        self.attributes |= found.keys()
        self.addresses += [
            value
            for name, value in attrs
            if name in ("src", "href", "xlink:href", "srcset", "data") and value
        ]
        if tag == "data":
            self._value = float(found["value"] or "")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._value is not None:
            self.scores.append((self._value, data))
            self._value = None


@pytest.fixture(scope="module")
def out(comparison: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    index = write_report(comparison, tmp_path_factory.mktemp("out") / "report")
    assert index.name == "index.html"
    return index.parent


@pytest.fixture(scope="module")
def page(out: Path) -> Page:
    return Page((out / "index.html").read_text(encoding="utf-8"))


def test_every_file_is_written_and_nothing_else(out: Path) -> None:
    assert sorted(path.name for path in out.iterdir()) == [
        "fidelity-diversity.png",
        "index.html",
        "ranking.png",
        "report.csv",
        "report.json",
        "report.md",
        "samples.png",
    ]


def test_page_loads_nothing_and_runs_nothing(page: Page) -> None:
    assert page.addresses
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert not {"script", "iframe", "object", "embed"} & set(page.tags)
    assert "@import" not in page.text
    assert "url(http" not in page.text


def test_page_has_its_sections(page: Page) -> None:
    for heading in (
        "Scores",
        "Population estimates",
        "Intervals",
        "Fidelity and diversity",
        "Why metrics disagree",
        "Samples",
        "Influential images",
        "Classes and attributes",
        "Fingerprints",
        "Excluded images",
        "Time and memory",
        "Environment",
        "Plugins",
        "benchgen run digits-quick.toml",
        "ImportError: no jax",
    ):
        assert heading in page.text


def test_values_of_an_attribute_are_set_against_the_reference(out: Path) -> None:
    text = (out / "index.html").read_text(encoding="utf-8")
    assert 'colour <span class="soft">as palette sees it</span>' in text
    table = text.partition('<th scope="col">Colour</th>')[2].partition("</table>")[0]
    rows = re.findall(r'<th scope="row">(\w+)</th><td>(\d+)</td><td>(\d+)</td>', table)
    n = int(rows[1][1]) + int(rows[2][1])
    assert rows == [
        ("blue", "0", "120"),
        ("red", str(n - n // 4), "80"),
        ("pink", str(n // 4), "0"),
    ]


def test_ids_of_the_page_are_unique(out: Path) -> None:
    ids = re.findall(r'\sid="([^"]*)"', (out / "index.html").read_text(encoding="utf-8"))
    assert len(ids) == len(set(ids))


def test_page_json_and_csv_have_the_same_numbers(out: Path, page: Page) -> None:
    document = json.loads((out / "report.json").read_text(encoding="utf-8"))
    stated = [
        (line["value"], numbers.with_error(line["value"], line["stderr"], board["scale"]))
        for board in document["boards"]
        for line in board["lines"]
    ]
    assert sorted(page.scores) == sorted(stated)
    with open(out / "report.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    told = {
        (line["row"], board["metric"]): (line["value"], line["place"], line["rank"])
        for board in document["boards"]
        for line in board["lines"]
    }
    assert {
        (line["row"], line["metric"]): (
            float(line["value"]),
            int(line["place"]),
            int(line["rank"]) if line["rank"] else None,
        )
        for line in lines
    } == told


def test_ties_and_the_best_are_shown(make_run: Callable[..., Path]) -> None:
    scores = {"a": {"fid": (10.0, 1.0)}, "b": {"fid": (10.5, 1.0)}, "c": {"fid": (90.0, 1.0)}}
    comparison = Comparison.of([make_run(scores=scores)])
    text = html(comparison)
    assert text.count(">best</span> rank 1–2") == 1
    assert text.count(">tied</span> rank 1–2") == 1
    assert "10.5 ± 1.0 ≈" in markdown(comparison)
    lines = json.loads(json_document(comparison))["boards"][0]["lines"]
    assert [(line["row"], line["best"], line["tied_with_best"]) for line in lines] == [
        ("a", True, False),
        ("b", False, True),
        ("c", False, False),
    ]
    assert [line["rank_interval"] for line in lines] == [[1, 2], [1, 2], [3, 3]]


def test_hostile_names_are_harmless_everywhere(make_run: Callable[..., Path]) -> None:
    scores = {HOSTILE: SCORES["gan"], FORMULA: SCORES["vae"]}
    run = make_run(
        scores=scores,
        suite="<img src=x onerror=alert(1)>",
        warnings={FORMULA: ["</style><script>alert(2)"]},
        errors={FORMULA: "<b onclick=x>"},
    )
    comparison = Comparison.of([run])
    page = Page(html(comparison))
    assert "script" not in page.tags
    assert not {name for name in page.attributes if name.startswith("on")}
    assert "<script>alert(1)|*" in page.text
    assert all(address.startswith(("data:", "#")) for address in page.addresses)

    text = markdown(comparison)
    assert "<script" not in text
    assert "<img" not in text.partition("```")[0]
    assert "| &lt;script&gt;alert(1)\\|\\* |" in text

    lines = list(csv.DictReader(to_csv(comparison).splitlines()))
    assert {line["row"] for line in lines} == {HOSTILE, "'=cmd()"}
    assert all(float(line["value"]) > 0 for line in lines)


def test_negative_numbers_stay_numbers_in_csv(comparison: Comparison) -> None:
    (line,) = (
        line
        for line in csv.DictReader(to_csv(comparison).splitlines())
        if (line["row"], line["metric"]) == ("real", "kid")
    )
    assert float(line["value"]) == -0.00003
    assert float(line["low"]) < 0


def test_undefined_is_a_dash_with_its_reason(make_run: Callable[..., Path]) -> None:
    undefined = {metric: (None, None) for metric in METRICS}
    scores = {"gan": undefined, "vae": {**undefined, "fid": (3.0, None)}, "real": undefined}
    comparison = Comparison.of([make_run(scores=scores)])
    for text in (Page(html(comparison)).text, markdown(comparison)):
        assert "–" in text
        assert "must exceed d = 2048" in text
    for text in (html(comparison), markdown(comparison), to_csv(comparison)):
        assert not re.search(r"(?<![a-z])nan(?![a-z])", text, re.IGNORECASE)
    lines = json.loads(json_document(comparison))["boards"][0]["lines"]
    assert {line["row"]: line["value"] for line in lines} == {
        "vae": 3.0,
        "gan": None,
        "real": None,
    }


def test_failed_and_missing_rows_are_shown(make_run: Callable[..., Path]) -> None:
    scores = {"gan": {"fid": (3.0, 0.1)}, "vae": {}, "late": {"fid": (4.0, 0.1)}}
    run = make_run(scores=scores, errors={"vae": "GeneratorError: NaN at image 17"})
    (run / "results" / "late.json").unlink()
    comparison = Comparison.of([run])
    page = Page(html(comparison))
    assert "GeneratorError: NaN at image 17" in page.text
    assert "late: no result yet" in page.text
    assert "**Failed**: vae: GeneratorError" in markdown(comparison)
    assert set(json.loads(json_document(comparison))["failures"]) == {"vae", "late"}


def test_a_single_row_without_classes_or_precision(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    scores = {"gan": {"kid": (0.006, 0.0004)}}
    stale = tmp_path / "out" / "fidelity-diversity.png"
    stale.parent.mkdir()
    stale.write_bytes(b"old")
    comparison = Comparison.of([make_run(scores=scores, classes=False, shown=0)])
    page = Page(write_report(comparison, tmp_path / "out").read_text(encoding="utf-8"))
    assert "gan is the only generator ranked; its KID is 6.00 ± 0.40 (×10³)" in (
        page.text.replace("\u00a0", " ")
    )
    for absent in (
        "Classes and attributes",
        "Fidelity and diversity",
        "Influential images",
        "Samples",
    ):
        assert absent not in page.text
    assert not stale.exists()
    assert not (tmp_path / "out" / "samples.png").exists()


def test_twelve_rows_keep_their_own_looks(make_run: Callable[..., Path]) -> None:
    scores = {f"model-{i}": {"fid": (5.0 + i, 0.1)} for i in range(12)}
    text = html(Comparison.of([make_run(scores=scores, classes=False, shown=1)]))
    assert len(set(re.findall(r"--row: (#\w+)", text))) == 12


def test_exhibits_outside_the_run_are_not_read(make_run: Callable[..., Path]) -> None:
    run = make_run(scores={"gan": {"fid": (3.0, 0.1)}}, classes=False, shown=1)
    outside = run.parent / "secret.png"
    (run / "exhibits" / "gan" / "0.png").rename(outside)
    path = run / "results" / "gan.json"
    path.write_text(path.read_text().replace("exhibits/gan/0.png", "../secret.png"))
    text = html(Comparison.of([run]))
    assert "first 1 images of gan" not in text
