"""From what a suite says of images to opened sources, each with its record for the documents."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from benchgen.errors import ImageError, PluginError, SuiteError, UnknownIdError, blamed
from benchgen.host.loader import Host, Registered, with_defaults
from benchgen.host.specs import GeneratorSpec, ReferenceSpec
from benchgen.images.generated import GeneratedSource
from benchgen.images.open import KNOWN_SUFFIXES, is_callable_name, open_images_at
from benchgen.images.source import Source
from benchgen.images.split import halves
from benchgen.runs.documents import SourceKind, SourceRecord
from benchgen.suite import GeneratorChoice, Images, ReferenceChoice
from benchgen.training.weights import is_weights, open_weights

Opened = tuple[Source, SourceRecord]

NOISE = "benchgen/noise"
_SIDE = 32
"""Of noise where nothing says how large images are."""


def open_images(
    plugins: Host,
    choice: Images,
    where: str,
    part: str = "reference",
    *,
    trust_code: bool = False,
) -> Opened:
    """Open images at a path, from a callable, or of a registered reference.

    Args:
        plugins: Where ids are looked up.
        choice: What to open.
        where: The field of the suite, for messages.
        part: Of a registered reference: ``"reference"`` or ``"held-out"``.
        trust_code: Whether ``module:callable`` may run the user's code.

    Raises:
        SuiteError: If it looks like a path and nothing is there, or a field does not apply.
        UsageError: If it would run code that is not trusted.
        UnknownIdError: If it is neither a path nor a known id.
    """
    if is_own(plugins, "reference", choice.source):
        return _open_own(choice, where, trust_code)
    _refuse_file_fields(choice, where)
    registered = plugins.find("reference", choice.source)
    parameters = with_defaults(registered, choice.params, where)
    with blamed(f"reference {registered.id}"):
        source = registered.spec.load(part=part, **parameters)
    if source.size is None:
        raise PluginError(f"reference {registered.id} is without end; a reference must be finite")
    record = _record(source, "reference", registered.id, parameters)
    assert isinstance(registered.spec, ReferenceSpec)
    return source, record.model_copy(
        update={
            "name": registered.spec.name,
            "version": registered.spec.version,
            "description": registered.spec.description,
            "license": registered.spec.license,
        }
    )


def open_reference(
    plugins: Host, choice: ReferenceChoice, trust_code: bool
) -> tuple[Opened, Opened | None]:
    """The reference, and the held-out images behind the row `real`."""
    opened, record = open_images(plugins, choice, "reference", trust_code=trust_code)
    if choice.real is not None:
        return (opened, record), open_real(plugins, choice, trust_code)
    if record.kind == "reference":
        held_out = open_images(plugins, choice, "reference", part="held-out", trust_code=trust_code)
        return (opened, record), held_out
    first, second = halves(opened)
    return (first, _halved(record, first)), (second, _halved(record, second))


def open_real(plugins: Host, choice: ReferenceChoice, trust_code: bool) -> Opened | None:
    """The images that ``real`` names; None where it names none."""
    if choice.real in (None, "none"):
        return None
    named: dict[str, Any] = {"source": choice.real}
    if is_own(plugins, "reference", str(choice.real)):
        named["background"] = choice.background
    images = Images(**named)
    return open_images(plugins, images, "reference.real", trust_code=trust_code)


def open_generator(
    plugins: Host, choice: GeneratorChoice, where: str, seed: int, device: str, trust_code: bool
) -> Opened:
    """A row's images: those of a registered generator, of a weights file, or the user's own."""
    of_weights = is_weights(choice.source)
    if not of_weights and is_own(plugins, "generator", choice.source):
        source, record = _open_own(choice, where, trust_code)
        stem = slug(choice.name or _stem(choice.source))
        return source, record.model_copy(update={"name": stem})
    _refuse_file_fields(choice, where)
    registered = find_generator(plugins, choice.source, where)
    parameters = with_defaults(registered, choice.params, where)
    name = slug(choice.name or (_stem(choice.source) if of_weights else registered.spec.name))
    generated, record = _generated(registered, parameters, seed, device, name)
    # A file is known by where it lies, as images are; its hash is in the fingerprint.
    return generated, record.model_copy(update={"id": choice.source} if of_weights else {})


def find_generator(plugins: Host, text: str, where: str) -> Registered:
    """The generator that has an id, or that a weights file is.

    Raises:
        UnknownIdError: Nothing has that id.
        SuiteError: There is no such file.
        WeightsError: The file is damaged, or has no model card.
        PluginError: The generator's distribution, or the file's trainer, is not to be had.
    """
    if not is_weights(text):
        return plugins.find("generator", text)
    if _is_missing(text):
        raise SuiteError(
            f"{where}: there is nothing at {text}; expected a file that `benchgen train` wrote"
        )
    return open_weights(plugins, text)


def open_noise(plugins: Host, like: Source, seed: int, device: str) -> Opened:
    """Noise of the size and colour of another source's first readable image."""
    registered = plugins.find("generator", NOISE)
    return _generated(registered, _shape(like), seed, device, "noise")


def is_own(plugins: Host, kind: str, text: str) -> bool:
    """Whether images are the user's: at a path, or from a callable.

    A known id goes before a path; ``./name`` is never an id.
    """
    if _looks_like_path(text) or is_callable_name(text):
        return True
    try:
        plugins.find(kind, text)
    except UnknownIdError:
        return Path(text).exists()
    return False


def slug(name: str) -> str:
    """A name as it may stand in a file name."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "row"


def _open_own(choice: Images, where: str, trust_code: bool) -> Opened:
    """What lies at a path, or what a callable gives."""
    if _is_missing(choice.source):
        raise SuiteError(
            f"{where}: there is nothing at {choice.source}; expected a folder of images, a file "
            f"with {', '.join(KNOWN_SUFFIXES)}, or module:callable"
        )
    source = open_images_at(
        choice.source,
        table=choice.table,
        background=choice.background,
        column=choice.column,
        parameters=choice.params,
        trust_code=trust_code,
        where=where,
    )
    if source.size is None:
        raise ImageError(f"{where}: {choice.source} is without end; images must be finitely many")
    given = choice.model_dump(mode="json", include={"table", "background", "column"})
    defaults = Images(source=choice.source).model_dump()
    said = {name: value for name, value in given.items() if value != defaults[name]}
    return source, _record(source, _kind(choice.source), choice.source, choice.params | said)


def _refuse_file_fields(choice: Images, where: str) -> None:
    for name in ("table", "background", "column"):
        if getattr(choice, name) != Images.model_fields[name].default:
            raise SuiteError(
                f"{where}.{name}: {choice.source} is a plugin's and takes no {name}; it is for "
                "images of your own"
            )


def _generated(
    registered: Registered, parameters: dict[str, Any], seed: int, device: str, name: str
) -> tuple[GeneratedSource, SourceRecord]:
    source = GeneratedSource(registered, parameters, seed=seed, device=device, name=name)
    spec = registered.spec
    assert isinstance(spec, GeneratorSpec)
    record = _record(source, "generator", registered.id, parameters).model_copy(
        update={
            "name": name,
            "version": f"{registered.distribution_version}+{spec.version}",
            "description": spec.description,
            "seed": seed,
            "license": spec.license,
            "training_data": spec.training_data,
            "weights_sha256": spec.weights_sha256,
        }
    )
    return source, record


def _shape(like: Source) -> dict[str, int]:
    """Height, width and channels of a source's images, as parameters of the noise."""
    if isinstance(like, GeneratedSource):
        height, width = like.spec.resolution or (
            like.parameters.get(side, _SIDE) for side in ("height", "width")
        )
        channels = like.parameters.get("channels", like.spec.channels)
        return {"height": height, "width": width, "channels": channels}
    first = next(
        (b.images for b in like.read(range(min(8, like.size or 8)), 1) if len(b.images)), None
    )
    if first is None:
        raise ImageError(f"{like.name}: none of its first images can be read")
    gray = bool((first[:, :1] == first).all())
    height, width = first.shape[-2:]
    return {"height": height, "width": width, "channels": 1 if gray else 3}


def _record(
    source: Source, kind: SourceKind, identifier: str, parameters: dict[str, Any]
) -> SourceRecord:
    return SourceRecord(
        name=source.name,
        kind=kind,
        id=identifier,
        fingerprint=source.fingerprint,
        parameters=parameters,
        classes=list(source.classes),
        size=source.size,
    )


def _halved(record: SourceRecord, half: Source) -> SourceRecord:
    return record.model_copy(
        update={
            "fingerprint": half.fingerprint,
            "size": half.size,
            "description": f"one stratified half of {record.size} images",
        }
    )


def _looks_like_path(text: str) -> bool:
    starts = text.startswith((".", "~", "/", os.sep)) or text.endswith((os.sep, "/"))
    return starts or text.lower().endswith(KNOWN_SUFFIXES) or text.count("/") > 1


def _is_missing(text: str) -> bool:
    """Whether a plain path names nothing; patterns and callables are the opener's to find."""
    path = Path(text).expanduser()
    return not (path.exists() or is_callable_name(text) or {"*", "{"} & set(path.name))


def _kind(text: str) -> SourceKind:
    """What lies at a path, or stands behind a callable's name."""
    path = Path(text).expanduser()
    if path.is_dir():
        return "folder"
    if is_callable_name(text) and not path.exists():
        return "callable"
    kinds: dict[str, SourceKind] = {".npy": "array", ".npz": "array", ".parquet": "parquet"}
    return kinds.get(path.suffix.lower(), "archive")


def _stem(text: str) -> str:
    """What to call the images at a path, or of a callable."""
    if _kind(text) == "callable":
        return text.rpartition(":")[2]
    name = Path(text).expanduser().resolve().name
    fitting = [suffix for suffix in KNOWN_SUFFIXES if name.lower().endswith(suffix)]
    return name[: -len(max(fitting, key=len))] if fitting else Path(name).stem
