"""Limits on numbers of images: each flags what was planted, and nothing else."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchgen.asked import AuditChoice, Limit
from benchgen.audits.attributes import Row
from benchgen.audits.documents import CheckRecord
from benchgen.audits.labels import Columns
from benchgen.audits.limits import judge_column, judge_repeats, judge_spectrum, repeats
from benchgen.audits.questions import decide

BANDS = [f"band {k}" for k in range(1, 9)]


def row(frame: pd.DataFrame) -> Row:
    return Row(Columns("gan", frame, {}), None)


def sharp(mean: float, n: int = 300, seed: int = 0) -> pd.DataFrame:
    return pd.DataFrame({"sharpness": np.random.default_rng(seed).normal(mean, 0.1, n)})


def column(frame: pd.DataFrame, real: pd.DataFrame | None, **limit: str | float) -> CheckRecord:
    questions = judge_column(row(frame), real, "sharpness", Limit(**limit), AuditChoice())  # type: ignore[arg-type]
    [found] = decide(questions, 0.05)
    return found


def test_a_limit_that_hangs_on_real_images() -> None:
    real = sharp(1.0, seed=1)
    assert column(sharp(1.0), real, at_least="90% of real").verdict == "pass"
    blurred = column(sharp(0.7), real, at_least="90% of real")
    assert blurred.verdict == "fail"
    assert blurred.limit.startswith("at least 90% of real = 0.89")
    close = column(sharp(0.9, n=40), real, at_least="90% of real")
    assert close.verdict == "inconclusive"
    assert column(sharp(0.7), None, at_least="90% of real").verdict == "not run"


def test_few_images_are_insufficient_and_no_column_is_not_run() -> None:
    assert column(sharp(1.0, n=10), None, at_least=0.5).verdict == "insufficient"
    frame = pd.DataFrame({"name": ["a"]})
    assert column(frame, None, at_least=0.5).verdict == "not run"
    hardly = sharp(1.0)
    hardly.loc[20:, "sharpness"] = np.nan
    assert column(hardly, None, at_least=0.5).n is None


def spectra(seed: int, shift: float = 0.0, n: int = 200) -> pd.DataFrame:
    values = np.random.default_rng(seed).normal(0, 1, (n, 8))
    values[:, 7] += shift
    return pd.DataFrame(values, columns=BANDS)


def test_a_band_that_is_missing_is_found_and_chance_is_not() -> None:
    asked = AuditChoice(spectrum=0.5)
    [missing] = decide(judge_spectrum(row(spectra(0, -1.0)), spectra(1), asked), 0.05)
    assert missing.verdict == "fail"
    assert "band 8 of 8" in missing.effect
    assert missing.value is not None
    assert abs(missing.value + 1) < 0.4
    verdicts = [
        decide(judge_spectrum(row(spectra(2 * s)), spectra(2 * s + 1), asked), 0.05)[0].verdict
        for s in range(20)
    ]
    assert "fail" not in verdicts
    assert "pass" in verdicts


def hashed(pixels: list[str], phash: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"index": range(len(pixels)), "pixels": pixels, "phash": phash})


def test_copies_among_the_images_are_found() -> None:
    random = np.random.default_rng(0)
    hashes = [random.bytes(8).hex() for _ in range(200)]
    frame = hashed(list(hashes), list(hashes))
    frame.loc[5, ["pixels", "phash"]] = frame.loc[3, ["pixels", "phash"]].to_list()
    near = f"{int(hashes[7], 16) ^ 0b101:016x}"
    frame.loc[9, "phash"] = near
    found = repeats(frame)
    assert found is not None
    assert found.exact == [[3, 5]]
    assert sorted(found.near) == [[3, 5], [7, 9]]
    [check] = decide(judge_repeats(row(frame), found, AuditChoice(duplicates=0.05)), 0.05)
    assert (check.verdict, check.value) == ("pass", 1 / 200)
    frame.loc[100:150, "pixels"] = "same"
    many = repeats(frame)
    [check] = decide(judge_repeats(row(frame), many, AuditChoice(duplicates=0.05)), 0.05)
    assert check.verdict == "fail"
    [check] = decide(judge_repeats(row(frame), None, AuditChoice(duplicates=0.05)), 0.05)
    assert check.verdict == "not run"
