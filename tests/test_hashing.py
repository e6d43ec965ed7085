"""Seals are of what is written."""

from __future__ import annotations

from benchgen.hashing import digest, seal


def test_a_seal_is_of_all_fields_but_itself_in_any_order() -> None:
    written = {"name": "a", "scores": [1.0, 2.5], "sha256": "whatever"}
    assert seal(written) == digest({"scores": [1.0, 2.5], "name": "a"})
    assert seal(written | {"sha256": ""}) == seal(written)
    assert seal(written | {"name": "b"}) != seal(written)
    assert seal(written | {"more": None}) != seal(written)
