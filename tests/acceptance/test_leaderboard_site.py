"""The site of a board as a reader has it: in a browser, from disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchgen.leaderboard.board import Board
from benchgen.leaderboard.site import render
from tests.benchmarks_loading import load

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install it")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve models on four metrics; what their source says is hostile."""
    synthetic: Any = load("leaderboard_inputs")
    folder = tmp_path_factory.mktemp("board")
    run = synthetic.write_run(
        folder / "run",
        synthetic.contenders(12, tied=3, copied=1),
        metrics=["alpha", "beta"],
        extractors=["one", "two"],
        pictures=6,
        n=80,
        training_data="<img src=x onerror='window.hit=1'></script><script>window.hit=1</script>",
    )
    board = Board.begin(folder / "board", "<script>window.hit=1</script>")
    board.add(run, by="Ada")
    return render(board, folder / "site").parent


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, site: Path) -> Iterator[Any]:
    """A page that fails on any complaint, and on anything asked from outside the site."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda said: complaints.append(f"{said.type}: {said.text}"))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: _inside(request.url, site, complaints))
    yield opened
    assert opened.evaluate("window.hit") is None
    context.close()
    assert complaints == []


def _inside(url: str, site: Path, complaints: list[str]) -> None:
    if not url.startswith(("data:", site.as_uri())):
        complaints.append(f"asked for {url}")


def _go(page: Any, site: Path, name: str = "index.html") -> None:
    page.goto(f"{site.as_uri()}/{name}")


def _first(page: Any) -> str:
    return str(page.locator("#models tbody tr").first.locator("a").inner_text())


def test_the_table_sorts_and_filters(page: Any, site: Path) -> None:
    _go(page, site)
    heading = page.locator("#models thead th", has_text="Alpha (one)")
    assert page.locator("#models tbody tr").count() == 14
    heading.click()
    playwright.expect(heading).to_have_attribute("aria-sort", "ascending")
    assert _first(page) == "real"
    heading.locator("[role=button]").press("Enter")
    playwright.expect(heading).to_have_attribute("aria-sort", "descending")
    assert _first(page) == "noise"
    page.get_by_label("Filter").fill("copy")
    playwright.expect(page.locator("#models tbody tr")).to_have_count(1)
    assert _first(page) == "model-000 copy"
    assert "of 14" in page.locator(".dt-info").inner_text()


def test_a_model_opens_and_is_compared(page: Any, site: Path) -> None:
    _go(page, site)
    page.locator("#models").get_by_role("link", name="model-009", exact=True).click()
    assert page.locator("h1").inner_text() == "model-009"
    picture = page.get_by_alt_text("6 samples of model-009")
    assert picture.evaluate("image => image.complete && image.naturalWidth > 0")
    page.get_by_role("link", name="compare it with another model").click()
    assert page.locator("#name-a").inner_text() == "model-009"
    page.get_by_label("Second").select_option(label="noise")
    assert page.locator("#lines tr").first.locator("td").last.inner_text() == "not known"
    page.get_by_label("Second").select_option(label="model-000")
    assert "model-000 is better on" in page.locator("#verdict").inner_text()
    page.get_by_role("button", name="Swap the two").click()
    assert page.locator("#name-a").inner_text() == "model-000"
    assert page.locator("#pairs li").count() == 6
    assert "the same seed" in page.locator("#seeds").inner_text()
    page.get_by_label("Second").select_option(label="model-000 copy")
    assert "not told apart on any" in page.locator("#verdict").inner_text()
    page.reload()
    assert page.locator("#name-b").inner_text() == "model-000 copy"


@pytest.mark.parametrize(
    "name",
    ["index.html", "models/model-000 copy.html", "metrics/alpha@one.html", "compare.html"],
)
def test_every_kind_of_page_is_fit_for_a_phone_and_for_all(
    page: Any, site: Path, name: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe").Axe()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        _go(page, site, name)
        page.set_viewport_size({"width": 400, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        found = [
            (violation["id"], [node["html"][:120] for node in violation["nodes"][:3]])
            for violation in axe.run(page, options={"preload": False}).response["violations"]
            if violation["impact"] in ("serious", "critical")
        ]
        assert found == [], scheme
