"""What is asked of attributes, on images whose truth was planted."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchgen.asked import AttributeChoice, AuditChoice
from benchgen.audits.attributes import Row, judge_attribute, target_of
from benchgen.audits.documents import CheckRecord
from benchgen.audits.labels import Columns
from benchgen.audits.questions import decide

KINDS = ("white", "sky", "dots")


def images(given: np.ndarray, n: int, seed: int) -> Columns:
    """Two labels; P(background | label) is given, ``[2, 3]``."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    background = (random.random((n, 1)) > given.cumsum(axis=1)[labels]).sum(axis=1).clip(max=2)
    frame = pd.DataFrame(
        {
            "name": [f"{i}" for i in range(n)],
            "label": [("ring", "star")[label] for label in labels],
            "background": [KINDS[b] for b in background],
            "prompt": [f"a {('ring', 'star')[label]}" for label in labels],
        }
    )
    return Columns("gan", frame, {})


def judged(
    columns: Columns, real: Columns | None = None, clusters: str | None = None, **asked: object
) -> dict[str, CheckRecord]:
    choice = AttributeChoice.model_validate({"name": "background", **asked})
    audit = AuditChoice()
    target = target_of(choice, KINDS, real)
    _, questions = judge_attribute(Row(columns, clusters), choice, KINDS, target, real, audit)
    return {check.check: check for check in decide(questions, audit.alpha)}


EVEN = np.full((2, 3), 1 / 3)
BOUND = np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])


def test_a_background_that_hangs_on_the_prompt_is_found() -> None:
    check = judged(images(BOUND, 400, 0), association=0.3)["background independent of the prompt"]
    assert check.verdict == "fail"
    assert check.value is not None
    # φ² of the planted shares is 0.49.
    assert abs(check.value - 0.7) < 0.08
    check = judged(images(EVEN, 2000, 0), association=0.3)["background independent of the prompt"]
    assert check.verdict == "pass"


def test_a_dependence_that_real_images_have_is_not_amplified() -> None:
    real = images(BOUND, 2000, 1)
    name = "background by label not amplified"
    same = judged(images(BOUND, 2000, 0), real, amplification=0.05)[name]
    assert same.verdict == "pass"
    stronger = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    more = judged(images(stronger, 2000, 0), real, amplification=0.05)[name]
    assert more.verdict == "fail"
    assert judged(images(BOUND, 2000, 0), amplification=0.05)[name].verdict == "not run"


def test_the_target_may_be_that_of_real_images() -> None:
    real = images(BOUND, 4000, 1)
    name = "shares of background on target"
    assert judged(images(BOUND, 4000, 0), real, target="reference", distance=0.1)[name].verdict == (
        "pass"
    )
    uniform = judged(images(BOUND, 4000, 0), real, target="uniform", distance=0.1)[name]
    assert uniform.verdict == "fail"


def test_prompts_are_clusters() -> None:
    columns = images(EVEN, 300, 0)
    many = [f"prompt {i // 10}" for i in range(300)]
    frame = columns.frame.assign(prompt=many, background=[KINDS[i // 10 % 3] for i in range(300)])
    one = Columns("gan", frame, {})
    alone = judged(one, parity=0.5)["parity of background"]
    together = judged(one, clusters="prompt", parity=0.5)["parity of background"]
    assert alone.verdict == "pass"
    assert together.verdict == "inconclusive"
