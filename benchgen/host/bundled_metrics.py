"""The metrics that ship with benchgen: what each is called, reads, compares with and means."""

from __future__ import annotations

from typing import Any

from benchgen.host.specs import MetricSpec


def metric_specs() -> list[MetricSpec]:
    """Every bundled metric, by family."""
    return [
        *_frechet(),
        *_kernel(),
        _inception_score(),
        *_neighbours(),
        *_diversity(),
        *_classes(),
        *_copying(),
        _two_sample(),
        _likelihood(),
    ]


def _frechet() -> list[MetricSpec]:
    reads = (
        "Distance between the means and covariances of two feature clouds. Sees quality and "
        "diversity at once, but only through first and second moments"
    )
    shared: dict[str, Any] = {"direction": "lower", "unit": "squared feature units"}
    return [
        MetricSpec(
            name="fid",
            factory="benchgen.metrics.frechet:Frechet",
            description="Fréchet distance of feature moments (Heusel 2017)",
            title="FID",
            depends_on_n=True,
            reads=f"{reads}; biased upward at small n.",
            **shared,
        ),
        MetricSpec(
            name="fid-corrected",
            factory="benchgen.metrics.frechet:Frechet",
            description="FID less its small-sample bias (second order)",
            title="FID corrected",
            population=True,
            reads=f"{reads}. Can be slightly negative where the two are nearly equal.",
            **shared,
        ),
        MetricSpec(
            name="fid-inf",
            factory="benchgen.metrics.extrapolation:ExtrapolatedFrechet",
            description="FID extrapolated to endless generated images (Chong & Forsyth 2020)",
            title="FID∞",
            parameters={
                "points": {"type": "integer", "minimum": 3, "default": 15},
                "seed": {"type": "integer", "minimum": 0, "default": 0},
            },
            depends_on_n=True,
            reads=(
                f"{reads}. A regression on 1/N takes the bias of the generated images off; that "
                "of the reference stays. FID corrected does both, with smaller errors."
            ),
            **shared,
        ),
        MetricSpec(
            name="sfid",
            factory="benchgen.metrics.frechet:Frechet",
            description="FID on features that keep their place in the image (Nash 2021)",
            title="sFID",
            consumes="spatial",
            depends_on_n=True,
            reads=(
                "FID on the rows of a spatial extractor: sees where things are in the image, "
                "which features averaged over the image do not."
            ),
            **shared,
        ),
    ]


def _kernel() -> list[MetricSpec]:
    return [
        MetricSpec(
            name="kid",
            factory="benchgen.metrics.kernel:Kernel",
            description="squared MMD with a cubic kernel, unbiased (Bińkowski 2018)",
            parameters={
                "subsets": {"type": ["integer", "null"], "minimum": 2, "default": None},
                "subset_size": {"type": "integer", "minimum": 2, "default": 1000},
                "seed": {"type": "integer", "minimum": 0, "default": 2020},
                "largest": {"type": "integer", "minimum": 2, "default": 20_000},
            },
            title="KID",
            direction="lower",
            scale=1000.0,
            population=True,
            reads=(
                "Squared distance of the feature distributions through moments up to the third. "
                "Unbiased: negative values are correct near zero."
            ),
        ),
        MetricSpec(
            name="cmmd",
            factory="benchgen.metrics.cmmd:Cmmd",
            description="squared MMD with a Gaussian kernel, times 1000 (Jayasumana 2024)",
            parameters={
                "sigma": {"type": "number", "exclusiveMinimum": 0, "default": 10.0},
                "largest": {"type": "integer", "minimum": 2, "default": 20_000},
            },
            title="CMMD",
            direction="lower",
            depends_on_n=True,
            reads=(
                "Distance of the distributions of normalised features. Made for CLIP, whose "
                "features know far more of images than Inception's."
            ),
        ),
    ]


def _inception_score() -> MetricSpec:
    return MetricSpec(
        name="is",
        factory="benchgen.metrics.inception_score:InceptionScore",
        description="confident and varied class predictions (Salimans 2016)",
        parameters={"splits": {"type": ["integer", "null"], "minimum": 1, "default": None}},
        title="IS",
        direction="higher",
        consumes="logits",
        compares_with=(),
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


def _diversity() -> list[MetricSpec]:
    sigma = {"type": ["number", "null"], "exclusiveMinimum": 0, "default": None}
    shared: dict[str, Any] = {
        "direction": "higher",
        "unit": "effective count",
        "depends_on_n": True,
    }
    return [
        MetricSpec(
            name="vendi",
            factory="benchgen.metrics.diversity:Vendi",
            description="effective number of different images, by eigenvalues (Friedman 2023)",
            parameters={
                "q": {
                    "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"const": "inf"}],
                    "default": 1.0,
                },
                "kernel": {"enum": ["cosine", "gaussian"], "default": "cosine"},
                "sigma": sigma,
            },
            title="Vendi",
            compares_with=(),
            reads=(
                "Effective number of directions that the features use. Never looks at real "
                "images: noise can be more diverse than anything real."
            ),
            **shared,
        ),
        MetricSpec(
            name="rke",
            factory="benchgen.metrics.diversity:Rke",
            description="effective number of modes, by kernel collisions (Jalali 2023)",
            parameters={"sigma": sigma},
            title="RKE",
            optional_reference=True,
            reads=(
                "Effective number of clusters at the bandwidth of the kernel. Two sets compare "
                "only at the same bandwidth, which comes from the real images."
            ),
            **shared,
        ),
        MetricSpec(
            name="support",
            factory="benchgen.metrics.support:EffectiveSupport",
            description="effective number of images before they repeat (Arora & Zhang 2017)",
            parameters={
                "quantile": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "exclusiveMaximum": 1,
                    "default": 0.01,
                }
            },
            title="Support",
            **{
                **shared,
                "unit": "images",
                "depends_on_n": False,
                "reads": (
                    "How many different images the generator draws from, judged by how often two "
                    "of its images are nearly the same (the birthday paradox)."
                ),
            },
        ),
    ]


def _classes() -> list[MetricSpec]:
    shared: dict[str, Any] = {
        "factory": "benchgen.metrics.classes:Classes",
        "consumes": "logits",
    }
    return [
        MetricSpec(
            name="modes",
            description="number of classes that are generated at all",
            title="Modes",
            direction="higher",
            unit="classes",
            depends_on_n=True,
            reads="Number of classes seen. Says nothing of how often, nor of variety within one.",
            **shared,
        ),
        MetricSpec(
            name="class-kl",
            description="divergence of the class shares from the reference's (Miller-Madow)",
            title="Class KL",
            direction="lower",
            unit="nats",
            population=True,
            reads=(
                "How far the shares of the classes are from the reference's. Sees dropped and "
                "favoured classes, and nothing within a class."
            ),
            **shared,
        ),
    ]


def _copying() -> list[MetricSpec]:
    return [
        MetricSpec(
            name="authpct",
            factory="benchgen.metrics.copying:Authenticity",
            description="share of images not too near a training image (Alaa 2022)",
            title="AuthPct",
            direction="higher",
            unit="percent",
            compares_with=("train",),
            depends_on_n=True,
            reads=(
                "Share of images that are farther from their nearest training image than that "
                "one is from its own neighbours. Compare with its null, not with 100; poor images "
                "score high."
            ),
        ),
        MetricSpec(
            name="ct",
            factory="benchgen.metrics.data_copying:DataCopying",
            description="data copying: nearer to the training set than test images (Meehan 2020)",
            parameters={
                "cells": {"type": "integer", "minimum": 1, "default": 3},
                "seed": {"type": "integer", "minimum": 0, "default": 0},
            },
            title="C_T",
            direction="none",
            unit="z",
            compares_with=("train", "test"),
            depends_on_n=True,
            reads=(
                "A test statistic, near 0 for a generator that neither copies nor underfits. Far "
                "below: images are nearer to the training set than real ones; far above: farther."
            ),
        ),
        MetricSpec(
            name="copy-rate",
            factory="benchgen.metrics.copying:CopyRate",
            description="share of images nearer to the training set than real ones come",
            parameters={
                "quantile": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "exclusiveMaximum": 1,
                    "default": 0.01,
                }
            },
            title="Copy rate",
            direction="lower",
            unit="share",
            compares_with=("train", "test"),
            population=True,
            reads=(
                "Share of images that copy a training image, beyond what unseen real images do by "
                "chance. Sees copies of whole images in feature space, not of parts."
            ),
        ),
    ]


def _two_sample() -> MetricSpec:
    return MetricSpec(
        name="c2st",
        factory="benchgen.metrics.two_sample:TwoSample",
        description="accuracy of a classifier of generated against real (Lopez-Paz & Oquab 2017)",
        parameters={
            "classifier": {"enum": ["logistic", "knn"], "default": "logistic"},
            "seed": {"type": "integer", "minimum": 0, "default": 0},
        },
        title="C2ST",
        direction="lower",
        unit="accuracy",
        depends_on_n=True,
        reads=(
            "How well a classifier tells the two apart; one half is chance. Any trace gives "
            "generated images away, also one that no person sees, such as compression."
        ),
    )


def _likelihood() -> MetricSpec:
    return MetricSpec(
        name="nll",
        factory="benchgen.metrics.likelihood:Likelihood",
        description="negative log-likelihood of held-out images, where a generator offers it",
        title="NLL",
        direction="lower",
        unit="bits/dim",
        consumes="likelihood",
        compares_with=(),
        population=True,
        reads=(
            "How few bits the model needs for a real image it has not seen. Says little of how "
            "its own images look."
        ),
    )
