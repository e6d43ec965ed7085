"""What the bundled specs promise is what their factories take."""

import importlib
import inspect
import math
import subprocess
import sys
from typing import get_args

import jsonschema
import pytest
import torch

from benchgen.host.bundled import RESIZE, benchgen_extractors, benchgen_measures
from benchgen.host.specs import ExtractorSpec, MeasureSpec
from benchgen.images.resize import Rule
from tests.features.columns import columns_of
from tests.features.pictures import photos

SPECS = benchgen_extractors()
MEASURES = benchgen_measures()


@pytest.mark.parametrize("spec", SPECS, ids=[spec.name for spec in SPECS])
def test_an_extractors_parameters_are_its_factorys(spec: ExtractorSpec) -> None:
    module, _, name = spec.factory.partition(":")
    factory = getattr(importlib.import_module(module), name)
    taken = {
        parameter.name: parameter.default
        for parameter in inspect.signature(factory).parameters.values()
        if parameter.name not in ("device", "size") or parameter.name in spec.parameters
    }
    assert spec.defaults() == taken
    for parameter, schema in spec.parameters.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(schema["default"], schema)
        assert parameter in taken


def test_the_schema_knows_every_resize_rule() -> None:
    assert set(RESIZE["enum"]) == set(get_args(Rule))


@pytest.mark.parametrize("spec", MEASURES, ids=[spec.name for spec in MEASURES])
def test_a_measure_sees_each_image_alone(spec: MeasureSpec) -> None:
    measure = spec.load()
    assert measure.fingerprint["measure"] == spec.name
    for height, width in ((33, 40), (1, 1)):
        images = photos(5, height, width)
        images[4] = 0
        together = columns_of(measure, images)
        assert tuple(together) == tuple(measure.columns)
        # Single precision sums a batch in another order.
        error = 1e-4 if measure.fingerprint.get("arithmetic") == "float32" else 0
        for place, image in enumerate(images):
            for column, (value,) in columns_of(measure, image[None]).items():
                found = together[column][place]
                if isinstance(value, float):
                    assert math.isfinite(found)
                    assert found == pytest.approx(value, rel=error, abs=0)
                else:
                    assert found == value
    empty = columns_of(measure, torch.zeros(0, 3, 1, 1, dtype=torch.uint8))
    assert empty == {column: [] for column in measure.columns}


def test_listing_specs_imports_no_torch() -> None:
    code = (
        "import sys, benchgen.host.bundled as b; b.benchgen_extractors(); b.benchgen_measures(); "
        "print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
