"""The extractor ``efficientnet-lite0`` for benchgen; its weights come with a package."""

from __future__ import annotations

from benchgen import ExtractorSpec, hookimpl


@hookimpl
def benchgen_extractors() -> list[ExtractorSpec]:
    """From image to feature row."""
    return [
        ExtractorSpec(
            name="efficientnet-lite0",
            factory="benchgen_efficientnet_lite.extractor:load",
            description="EfficientNet-Lite0, 1280 features, 1000 classes; weights included",
            parameters={
                "resize": {
                    "enum": [
                        "torchvision-antialias",
                        "clean",
                        "pillow-bicubic",
                        "tf1",
                        "pytorch-fid",
                    ],
                    "default": "torchvision-antialias",
                }
            },
            has_classes=True,
        )
    ]
