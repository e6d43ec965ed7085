"""Quality by kind: one that is worse is found, and rare ones do not look worse."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchgen.asked import AttributeChoice, AuditChoice
from benchgen.audits.attributes import Row
from benchgen.audits.documents import CheckRecord, KindRecord
from benchgen.audits.groups import judge_kinds
from benchgen.audits.labels import Columns, Labels
from benchgen.audits.questions import decide
from benchgen.metrics.base import TensorFeatures

KINDS = ("a", "b", "c")


def side(
    counts: list[int], seed: int, worse: float = 0.0, collapsed: float = 0.0
) -> tuple[Any, Labels]:
    """A result with 8 features an image, and its kinds.

    Kind c is moved by ``worse``, and that share of its images look like the first.
    """
    random = np.random.default_rng(seed)
    values = np.repeat(np.arange(3), counts)
    rows = random.normal(size=(len(values), 8)) + values[:, None]
    rows[values == 2] += worse
    alike = np.flatnonzero(values == 2)[: int(collapsed * counts[2])]
    rows[alike] = rows[alike[:1]] + 0.01 * rows[alike]
    features = TensorFeatures(torch.from_numpy(rows).float())
    result = SimpleNamespace(
        document=SimpleNamespace(features={"net": "key"}), features=lambda _: features
    )
    return result, Labels(KINDS, values, "the run")


def judged(
    counts: list[int],
    worse: float = 0.0,
    collapsed: float = 0.0,
    least: int = 30,
    **limits: float,
) -> tuple[list[KindRecord], list[CheckRecord]]:
    result, labels = side(counts, 0, worse, collapsed)
    real, real_labels = side([150, 150, 150], 1)
    row = Row(Columns("gan", pd.DataFrame(), {}), None)
    choice = AttributeChoice.model_validate({"name": "kind", **limits})
    asked = AuditChoice(least=least)
    records, questions = judge_kinds(row, result, real, choice, labels, real_labels, asked)
    return records, decide(questions, asked.alpha)


def test_the_worse_kind_is_named() -> None:
    records, [check] = judged([150, 150, 150], worse=1.0, quality=0.05)
    assert check.verdict == "fail"
    assert check.effect.startswith("KID of c less that of")
    assert "p = 0.001" in check.reason
    assert [record.n for record in records] == [150] * 3
    kid = {record.kind: record.values[0].value for record in records}
    assert max(kid, key=kid.__getitem__) == "c"
    assert [value.name for value in records[0].values] == ["kid", "fid", "precision", "recall"]


def test_equal_kinds_pass_and_rare_ones_do_not_look_worse() -> None:
    records, [check] = judged([150, 150, 40], quality=20.0)
    assert check.verdict == "pass"
    assert [record.n for record in records] == [40] * 3
    assert judged([100, 100, 40], quality=0.0)[1][0].verdict == "inconclusive"


def test_too_few_are_insufficient_and_named() -> None:
    records, [check] = judged([150, 150, 10], quality=0.05)
    assert {record.kind for record in records} == {"a", "b"}
    assert "too few images of c" in check.reason
    records, [check] = judged([150, 10, 10], quality=0.05)
    assert check.verdict == "insufficient"
    assert records == []


def test_nothing_is_asked_unless_declared() -> None:
    assert judged([150, 150, 150]) == ([], [])


def test_the_kind_that_has_collapsed_is_named() -> None:
    records, [check] = judged([150, 150, 150], collapsed=0.9, diversity=0.8)
    assert check.verdict == "fail"
    assert check.effect == "Vendi score of c over that of real ones"
    assert check.value is not None
    assert check.value < 0.7
    assert [value.name for value in records[2].values] == ["vendi", "vendi of real"]


def test_kinds_as_diverse_as_real_ones_pass() -> None:
    records, [check] = judged([150, 150, 40], diversity=0.8)
    assert check.verdict == "pass"
    assert [record.n for record in records] == [40] * 3


def test_fewer_images_than_features_say_nothing_of_diversity() -> None:
    [check] = judged([150, 150, 7], diversity=0.8, least=5)[1]
    assert check.verdict == "insufficient"
    assert "use more images than features" in check.reason
