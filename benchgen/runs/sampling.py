"""A generator's images as PNG files in a folder."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from benchgen.errors import SuiteError
from benchgen.files import write_atomically
from benchgen.host.loader import host, with_defaults
from benchgen.images import noise
from benchgen.images.encode import png
from benchgen.images.generated import GeneratedSource
from benchgen.runs.environment import resolve_device
from benchgen.runs.passes import Observer
from benchgen.runs.sources import find_generator


def sample_to_folder(
    generator: str,
    n: int,
    out: Path,
    *,
    seed: int,
    device: str,
    batch_size: int,
    observer: Observer,
) -> int:
    """Write images 0 to n-1 as ``out/0000000.png`` and so on; return how many were new.

    ``out/samples.json`` says what they are, ``out/samples.csv`` lists index, file and label.

    Raises:
        SuiteError: If the folder holds images of something else.
        GeneratorError: If the generator fails; images written before stay.
    """
    registered = find_generator(host(), generator, "sample")
    parameters = with_defaults(registered, {}, "sample")
    source = GeneratedSource(registered, parameters, seed=seed, device=resolve_device(device))
    _claim(out, source)
    files = {index: out / f"{index:07d}.png" for index in range(n)}
    missing = [index for index, path in files.items() if not path.is_file()]
    observer.begin(source.name, n, n - len(missing))
    for batch in source.read(missing, batch_size):
        for index, image in zip(batch.indices.tolist(), batch.images, strict=True):
            write_atomically(files[index], png(image))
        observer.advance(source.name, len(batch.indices))
    observer.end(source.name)
    for warning in source.warnings:
        observer.message(warning)
    present = sorted(path for path in out.glob("*.png") if path.stem.isdigit())
    _write_index(out, source, [int(path.stem) for path in present])
    return len(missing)


def _claim(out: Path, source: GeneratedSource) -> None:
    """Take an empty folder, or one that holds images of this very generator and seed."""
    identity = {
        "generator": source.registered.id,
        "parameters": source.parameters,
        "seed": source.seed,
        "fingerprint": source.fingerprint,
    }
    path = out / "samples.json"
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before != identity:
            raise SuiteError(
                f"{out} holds samples of {before.get('generator')} with seed {before.get('seed')}"
                " or of another version of it; name another folder"
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SuiteError(f"{out} is not an empty folder; name an empty or new one")
    write_atomically(path, json.dumps(identity, indent=1) + "\n")


def _write_index(out: Path, source: GeneratedSource, indices: list[int]) -> None:
    labels: list[str] = [""] * len(indices)
    if source.spec.conditioning == "class":
        drawn = noise.labels(source.seed, indices, len(source.classes)).tolist()
        labels = [source.classes[label] for label in drawn]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["index", "file", "label"])
    for index, label in zip(indices, labels, strict=True):
        writer.writerow([index, f"{index:07d}.png", label])
    write_atomically(out / "samples.csv", text.getvalue())
