"""Images that share a prompt or a group: told by the source, kept, counted in every error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import benchgen
from benchgen.runs.clusters import find_clusters, restored
from benchgen.suite import Suite

PROMPTS, EACH = 40, 5


def test_clusters_are_found_where_values_repeat() -> None:
    images: dict[str, list[str | None]] = {
        "prompt": ["a", "b", "a", None, None],
        "group": ["x", "y", "z", "u", "v"],
    }
    found = find_clusters(images, None)
    assert found.column == "prompt"
    assert found.labels is not None
    assert len(set(found.labels)) == 4  # an image without a prompt stands alone
    assert found.note == "errors are computed over 4 clusters of 5 images (prompt)"
    assert found.of([0, 2]) == [found.labels[0]] * 2
    assert restored("prompt", images["prompt"]) == found.labels
    assert find_clusters(images, "group").labels is None
    assert find_clusters(images, "none").labels is None
    assert find_clusters({"name": ["1", "2"]}, None).note is None
    note = find_clusters({"name": ["1", "2"]}, "prompt").note
    assert note == "its images have no prompt, so errors take them as independent"


@pytest.fixture
def images(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A reference, a folder in which five images of a prompt are alike, and their table."""
    random = np.random.default_rng(0)
    real, fake = tmp_path / "real", tmp_path / "fake"
    for folder in (real, fake):
        folder.mkdir()
    for number in range(200):
        pixels = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(real / f"{number:04d}.png")
    lines = ["file,prompt,group,artist"]
    for prompt in range(PROMPTS):
        base = random.integers(0, 256, (6, 6, 3))
        for k in range(EACH):
            pixels = np.clip(base + random.integers(-4, 5, base.shape), 0, 255)
            name = f"{prompt * EACH + k:04d}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(fake / name)
            lines.append(f'{name},"a cat, no. {prompt}",{prompt % 2},me')
    table = tmp_path / "prompts.csv"
    table.write_text("\n".join(lines) + "\n")
    return real, fake, table


def suite(images: tuple[Path, Path, Path], **fields: object) -> Suite:
    real, fake, table = images
    return Suite.model_validate(
        {
            "reference": {"source": str(real), "real": "none"},
            "generators": [{"source": str(fake), "table": str(table)}],
            "extractors": [{"id": "pixels", "params": {"size": 1}}],
            "metrics": ["fid", "kid"],
            **fields,
        }
    )


def test_prompts_are_kept_and_widen_the_errors(
    images: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    run = benchgen.run(suite(images), tmp_path / "run")
    result = run["fake"]
    assert set(result.columns["prompt"]) == {f"a cat, no. {k}" for k in range(PROMPTS)}
    assert list(result.columns["artist"].unique()) == ["me"]
    assert result.document.clusters == "prompt"
    stated = "errors are computed over 40 clusters of 200 images (prompt)"
    assert stated in result.document.warnings
    assert stated in run.report.read_text()
    record = result.record("kid")
    assert record.method == "influence, clustered"
    estimate = result.estimate("kid")
    assert estimate.clusters is not None
    assert len(set(estimate.clusters.tolist())) == PROMPTS
    alone = benchgen.run(suite(images, clusters="none"), tmp_path / "alone")["fake"]
    assert alone.document.clusters is None
    assert alone.record("kid").value == record.value
    assert record.stderr is not None
    assert alone.record("kid").stderr is not None
    assert record.stderr > 1.5 * (alone.record("kid").stderr or 0)
    assert run["noise"].document.clusters is None


def test_groups_where_the_suite_says_so(images: tuple[Path, Path, Path], tmp_path: Path) -> None:
    run = benchgen.run(suite(images, clusters="group"), tmp_path / "run")
    assert run["fake"].document.clusters == "group"
    with pytest.raises(benchgen.SuiteError, match=r"clusters was 'group', is None"):
        benchgen.run(suite(images), tmp_path / "run")
