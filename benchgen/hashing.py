"""One hash for values: whatever is compared or addressed by content goes through here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def digest(value: Any) -> str:
    """sha256 (hex) of a JSON-able value, independent of key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def seal(written: Mapping[str, Any]) -> str:
    """What a document's own ``sha256`` has to be: of all its other fields, as they are written.

    Not as they are understood: a field that a later version adds breaks no older seal.
    """
    return digest({name: value for name, value in written.items() if name != "sha256"})
