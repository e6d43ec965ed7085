"""The self-test in the documentation: a line for every metric, and the page with the whole table.

``python -m benchgen.doctor.pages``, in a clone, rewrites ``docs/metrics/`` from the self-test in
``reports/``. A test fails when a page is stale.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from benchgen.doctor import words
from benchgen.doctor.documents import DoctorDocument
from benchgen.doctor.write import defect_list, escaped, method, remarks, table
from benchgen.errors import UnknownIdError, UsageError
from benchgen.files import write_atomically
from benchgen.report.numbers import count

FOUND = Path("reports/doctor/digits/doctor.json")
FOLDER = Path("docs/metrics")
_TABLE_PAGE = "self-test.md"
_LABEL = "*Self-test.*"
_HEADING = re.compile(r"^#{1,2} (?:`([\w-]+)`)?")
_NAMES = {"benchgen/digits": "the embedded digits"}

_PAGE = """\
# Self-test

Made by `python -m benchgen.doctor.pages` from `{found}`; do not edit.

A metric is only as good as its features, on your images. `benchgen doctor` tests that. It splits
real images into a reference, a training set and a set that plays a perfect generator, plants
defects of growing strength in the last, and tells for every metric from which strength on it gets
worse by more than its error.

## What was found on {name}

{extractor} features, {n} images of each set, seed {seed}, benchgen {version}.

{conclusions}

{table}

{remarks}

## How it was found

{method}

Of a metric without a standard error any change counts, chance included; such metrics are never
recommended. A metric without a direction (`ct`) is worse wherever it departs from what it says of a
perfect generator. A metric that sees nothing is called blind to everything with 95 % probability.

## Its limits

- It holds for these images and these features. Other features see other things: run it on yours.
- More images see weaker defects. A strength from which on a metric sees a defect is one of this n.
- Each defect comes alone. A generator has several, and they may cancel: in `ct`, copies against
  images that are too far away.
- The set that plays a perfect generator is one draw of real images; with another seed a verdict may
  move by a step.
- The training set is as good as the reference. So a metric that compares with the reference cannot
  see copies of the training set; that it does not is right, and why there are metrics of copying.

## Defects

{defects}

Class defects need labels and a reserve of unseen images. With labels, therefore, n is by default a
quarter of the images (else a third), and at most 1,000. What cannot be planted or computed is told
of, with the reason.

## On your own images

```console
$ benchgen doctor -r photos/ -e inception -n 500
$ benchgen doctor -m kid -m coverage -d dropped
```

[The guide](../guide.md#which-metric-sees-what) explains the options and files. This page comes from

```console
$ {command}
```
"""


def pages(document: DoctorDocument, folder: Path) -> dict[Path, str]:
    """What the pages on metrics in ``folder`` should say, by path.

    In each, a line that begins with ``*Self-test.*`` is replaced by what the metric of its section
    was found to see. The page with the table is made whole.

    Raises:
        UsageError: If such a line stands in no metric's section.
        UnknownIdError: If its metric is not in the self-test.
    """
    found = {
        path: _with_lines(path, document)
        for path in sorted(folder.glob("*.md"))
        if path.name != _TABLE_PAGE
    }
    return {**found, folder / _TABLE_PAGE: _page(document)}


def line(document: DoctorDocument, metric: str) -> str:
    """What the self-test found of a metric (a bare name), as a line of its section.

    Raises:
        UnknownIdError: If the metric is not in the self-test.
    """
    for found in document.metrics:
        if found.name == metric:
            said = escaped(words.sees(found, document.defects))
            about = f"{count(document.n)} images, `{document.extractor}` features"
            return f"{_LABEL} On {_name(document)} ({about}): {said[0].lower()}{said[1:]}"
    for name, reason in document.not_run.items():
        if name.rpartition("/")[2] == metric:
            return f"{_LABEL} Not run on {_name(document)}: {escaped(reason)}."
    known = [found.id for found in document.metrics]
    raise UnknownIdError("metric", metric, [*known, *document.not_run])


def _with_lines(path: Path, document: DoctorDocument) -> str:
    metric: str | None = None
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        if heading := _HEADING.match(text):
            metric = heading[1]
        if not text.startswith(_LABEL):
            lines.append(text)
        elif metric is None:
            raise UsageError(f"{path}: the line {_LABEL} stands below no heading of a metric")
        else:
            lines.append(line(document, metric))
    return "\n".join(lines) + "\n"


def _page(document: DoctorDocument) -> str:
    page = _PAGE.format(
        found=FOUND,
        name=_name(document),
        extractor=f"`{document.extractor}`",
        n=count(document.n),
        seed=document.seed,
        version=document.benchgen_version,
        conclusions="\n".join(f"- {escaped(text)}" for text in document.conclusions),
        table=table(document),
        remarks=remarks(document),
        method=method(document),
        defects=defect_list(document),
        command=document.command,
    )
    # MkDocs would show this backslash; a lone tilde is text to every reader of Markdown.
    return page.replace(r"\~", "~")


def _name(document: DoctorDocument) -> str:
    return _NAMES.get(document.reference.id or "", document.reference.name)


if __name__ == "__main__":
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else FOUND
    read = DoctorDocument.model_validate_json(source.read_text(encoding="utf-8"))
    for page, text in pages(read, FOLDER).items():
        write_atomically(page, text)
