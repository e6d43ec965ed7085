"""How the reference models, and the drawn shapes, appear to benchgen."""

from __future__ import annotations

import pytest
import torch

from benchgen.host.loader import host
from benchgen.images.source import ImageBatch, Source
from reference_models import shapes
from reference_models.plugin import FAMILIES, ShapesMeasure, load_shapes, load_shapes_extractor


def test_every_family_has_a_trainer() -> None:
    assert {one.id for one in host().all("trainer")} >= {f"benchgen/{f.name}" for f in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_what_a_training_may_set_is_what_the_family_takes(family) -> None:  # type: ignore[no-untyped-def]
    import dataclasses
    import inspect

    config = {field.name for field in dataclasses.fields(family.module.Config)}
    assert family.architecture.keys() <= config
    recipe = inspect.signature(getattr(family.module, family.recipe)).parameters
    assert family.settings.keys() <= recipe.keys()
    model = family.module.load.__annotations__["return"]
    sample = inspect.signature(getattr(family.module, model).sample).parameters
    assert family.sampling.keys() == sample.keys() - {"self", "noise", "labels"}
    for name, schema in family.sampling.items():
        assert schema["default"] == sample[name].default
    assert family.likelihood == hasattr(getattr(family.module, model), "log_likelihood")


def test_the_splits_of_the_shapes_are_disjoint_and_as_large_as_said() -> None:
    test, train = load_shapes("reference"), load_shapes("held-out")
    assert (test.size, train.size) == (10_000, 60_000)
    assert load_shapes("reference", split="train").fingerprint == train.fingerprint
    some = load_shapes("reference", size=20)
    assert (some.size, load_shapes("held-out", size=20).size) == (20, 60_000)
    assert some.fingerprint != test.fingerprint
    both = [next(source.read(range(20), 20)).images for source in (some, test)]
    assert torch.equal(both[0], both[1])
    assert test.fingerprint != train.fingerprint
    first = [next(source.read(range(500), 500)).images.flatten(1) for source in (test, train)]
    both = torch.cat(first)
    assert len(torch.unique(both, dim=0)) == len(both)


def test_images_of_the_shapes_come_by_index() -> None:
    source: Source = load_shapes("reference")
    (whole,) = source.read(range(8), 8)
    parts = list(source.read([5, 2, 7], 2))
    assert [part.indices.tolist() for part in parts] == [[5, 2], [7]]
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images[[5, 2, 7]])
    assert whole.labels is not None
    for row in range(8):
        assert source.classes[int(whole.labels[row])] == whole.columns["shape"][row]
    with pytest.raises(Exception, match="10000"):
        next(source.read([10_000], 1))


def test_the_extractor_and_the_measure_read_what_was_drawn() -> None:
    (batch,) = load_shapes("reference").read(range(200), 200)
    extracted = load_shapes_extractor("cpu")(batch.images)
    assert extracted.features.shape == (200, 64)
    assert extracted.logits is not None
    assert (extracted.logits.argmax(1) == batch.labels).double().mean() >= 0.99
    measure = ShapesMeasure()
    read = measure(batch)
    assert set(read) == set(measure.columns)
    for name in shapes.CATEGORICAL:
        right = [a == b for a, b in zip(read[name], batch.columns[name], strict=True)]
        assert sum(right) >= 198
    assert all(0 <= degrees < 360 for degrees in read["rotation"] if isinstance(degrees, float))


def test_images_of_another_size_are_read_too() -> None:
    (batch,) = load_shapes("reference").read(range(50), 50)
    large = torch.nn.functional.interpolate(batch.images.float(), scale_factor=2).to(torch.uint8)
    read = ShapesMeasure()(ImageBatch(indices=batch.indices, images=large))
    right = [a == b for a, b in zip(read["shape"], batch.columns["shape"], strict=True)]
    assert sum(right) >= 48
