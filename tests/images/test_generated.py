"""The sampling contract: what a generator may return, and what happens where it does not."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchgen import GeneratorSpec, SampleBatch
from benchgen.errors import GeneratorError
from benchgen.host.loader import Registered
from benchgen.images.generated import GeneratedSource


def source(sample: Callable[[SampleBatch], Any], **fields: Any) -> GeneratedSource:
    """A source around one function, without an entry point."""

    class Model:
        def sample(self, batch: SampleBatch) -> Any:
            return sample(batch)

    class Spec(GeneratorSpec):
        def load(self, **arguments: Any) -> Any:
            return Model()

    spec = Spec(name="model", factory="a:b", **({"resolution": (4, 4)} | fields))
    return GeneratedSource(Registered(spec, "acme", "1.0"), {}, seed=5)


def images_of(source: GeneratedSource, n: int, batch_size: int) -> Tensor:
    return torch.cat([batch.images for batch in source.read(range(n), batch_size)])


def honest(batch: SampleBatch) -> Tensor:
    return torch.sigmoid(batch.normal(1, 4, 4))


@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_images_do_not_depend_on_batch_size(batch_size: int) -> None:
    assert torch.equal(images_of(source(honest), 40, batch_size), images_of(source(honest), 40, 40))


def test_gray_becomes_rgb_and_floats_round_to_nearest() -> None:
    images = images_of(source(lambda b: torch.full((len(b), 1, 4, 4), 0.4999 / 255)), 2, 2)
    assert images.shape == (2, 3, 4, 4)
    assert images.max() == 0
    assert images_of(source(lambda b: torch.full((len(b), 1, 4, 4), 0.51 / 255)), 2, 2).min() == 1


def test_labels_are_index_addressed_conditions() -> None:
    seen: dict[int, int] = {}

    def sample(batch: SampleBatch) -> Tensor:
        assert batch.condition is not None
        seen.update(zip(batch.indices.tolist(), batch.condition.tolist(), strict=True))
        return honest(batch)

    model = source(sample, conditioning="class", classes=("a", "b", "c"))
    batches = list(model.read(range(50), 7))
    labels = [
        int(v) for batch in batches for v in (batch.labels if batch.labels is not None else [])
    ]
    assert labels == [seen[i] for i in range(50)]
    assert set(labels) == {0, 1, 2}
    again = next(model.read([31], 1)).labels
    assert again is not None
    assert int(again[0]) == labels[31]


def _with(value: float, at: int) -> Callable[[SampleBatch], Tensor]:
    def sample(batch: SampleBatch) -> Tensor:
        images = honest(batch)
        images[batch.indices == at] = value
        return images

    return sample


BROKEN: dict[str, tuple[Callable[[SampleBatch], Any], str]] = {
    "NaN": (_with(float("nan"), 13), r"acme/model: finite, first at index 13"),
    "infinity": (_with(float("inf"), 11), r"acme/model: finite, first at index 11"),
    "range": (_with(1.5, 12), r"acme/model: range, first at index 12"),
    "negative": (lambda b: honest(b) - 1, r"acme/model: range, first at index 0"),
    "channels": (lambda b: torch.zeros(len(b), 2, 4, 4), r"acme/model: shape"),
    "rank": (lambda b: torch.zeros(len(b), 4, 4), r"acme/model: shape"),
    "resolution": (lambda b: torch.zeros(len(b), 1, 5, 4), r"\(5, 4\).*resolution \(4, 4\)"),
    "dtype": (lambda b: torch.zeros(len(b), 1, 4, 4, dtype=torch.int64), r"acme/model: dtype"),
    "too few": (
        lambda b: honest(b)[1:],
        r"returned 9 images; 10 were asked for \(indices 0 to 9\)",
    ),
    "not a tensor": (lambda b: [1], r"returned list; expected a torch\.Tensor"),
    "raises": (lambda b: 1 / 0, r"raised ZeroDivisionError while sampling images 0 to 9"),
    "one stream twice": (lambda b: b.normal(2) + b.normal(2), r"drawn twice in one call"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_breach_names_plugin_field_and_first_bad_index(case: str) -> None:
    sample, message = BROKEN[case]
    with pytest.raises(GeneratorError, match=message):
        images_of(source(sample), 20, 10)


def test_global_state_is_restored_and_the_meddling_told() -> None:
    def meddle(batch: SampleBatch) -> Tensor:
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(True)
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        return honest(batch).float()

    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    model = source(meddle)
    images_of(model, 4, 2)
    assert torch.get_default_dtype() is torch.float32
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert random.getstate() == before[2]
    assert len(model.warnings) == 1
    assert "acme/model changed global state (default dtype" in model.warnings[0]


def test_state_is_restored_where_the_generator_raises() -> None:
    def meddle(batch: SampleBatch) -> Tensor:
        torch.use_deterministic_algorithms(True)
        raise RuntimeError("half way")

    with pytest.raises(GeneratorError, match="half way"):
        images_of(source(meddle), 4, 2)
    assert not torch.are_deterministic_algorithms_enabled()


def test_index_purity() -> None:
    def batchwise(batch: SampleBatch) -> Tensor:
        return torch.sigmoid(torch.randn(len(batch), 1, 4, 4))

    assert source(honest).index_pure()
    assert not source(batchwise).index_pure()


def test_learnt_numbers_are_counted_once() -> None:
    class Generator:
        def __init__(self) -> None:
            self.network = torch.nn.Linear(3, 4)
            self.same = self.network
            self.size = 4

    assert source(honest).model_parameters() is None
    loaded = source(honest)
    loaded._generator = Generator()  # type: ignore[assignment]
    assert loaded.model_parameters() == 16


def test_the_fingerprint_follows_what_decides_the_images() -> None:
    base = source(honest)
    assert base.fingerprint == source(honest).fingerprint
    assert base.fingerprint != source(honest, weights_sha256="ab").fingerprint
    assert base.fingerprint != source(honest, version="2").fingerprint


def test_a_full_graphics_card_gets_half_as_many_at_once() -> None:
    asked: list[int] = []

    def sample(batch: SampleBatch) -> Tensor:
        asked.append(len(batch))
        if len(batch) > 3:
            raise torch.cuda.OutOfMemoryError("full")
        return honest(batch)

    small = source(sample)
    assert torch.equal(images_of(small, 20, 10), images_of(source(honest), 20, 10))
    assert asked == [10, 5, *[2] * 10]
    assert small.warnings == [
        f"acme/model: cpu has no memory for {n} images at once; sampled {n // 2} at a time"
        for n in (10, 5)
    ]


def test_a_card_too_small_for_one_image_is_an_error() -> None:
    def sample(batch: SampleBatch) -> Tensor:
        raise torch.cuda.OutOfMemoryError("full")

    with pytest.raises(GeneratorError, match="OutOfMemoryError while sampling images 0 to 0: full"):
        images_of(source(sample), 4, 4)
