"""What the bundled specs promise is what their factories take."""

import importlib
import inspect
import subprocess
import sys
from typing import get_args

import jsonschema
import pytest

from benchgen.host.bundled import RESIZE, benchgen_extractors
from benchgen.host.specs import ExtractorSpec
from benchgen.images.resize import Rule

SPECS = benchgen_extractors()


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


def test_listing_specs_imports_no_torch() -> None:
    code = (
        "import sys, benchgen.host.bundled as b; b.benchgen_extractors(); "
        "print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
