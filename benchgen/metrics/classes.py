"""Which classes a generator makes, and how often: observed modes, and divergence of shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import (
    FeatureSet,
    Score,
    SquaredDistance,
    Strata,
    checked_blocks,
    require_real,
    require_same_width,
)

_FEW_IMAGES = 5
_NAMED = 10


class Classes:
    """``modes`` and ``class-kl``, on class logits; the class of an image is its largest logit.

    ``modes`` is the number of classes among the generated images, and ``class-kl`` the
    Kullback-Leibler divergence of their shares from those of the reference (Metz et al. 2017,
    arXiv:1611.02163; Srivastava et al. 2017, arXiv:1705.07761).

    Args:
        convention: None; no other tool defines these.

    Raises:
        MetricError: If a convention is given.
    """

    def __init__(self, convention: str | None = None) -> None:
        if convention is not None:
            raise MetricError(
                f"modes and class-kl know no convention {convention!r}; no other tool defines "
                "them, so leave it out"
            )

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """There are none."""
        return {}

    def prepare(self, real_logits: FeatureSet | None) -> _Shares:
        """Count the classes of the reference (logits ``[m, classes]``).

        Raises:
            MetricError: If there is no reference, there is one class only, or a row is bad.
        """
        return _count(require_real(real_logits, "class-kl"), "real_logits")

    def compute(self, prepared: _Shares, fake: FeatureSet) -> Mapping[str, Score]:
        """Score one generator's logits ``[n, classes]``; the keys are ``modes``, ``class-kl``.

        Raises:
            MetricError: If ``fake`` has other columns, or a row is bad.
        """
        require_same_width(fake, prepared.logits)
        found = _count(fake, "fake_logits")
        return {"modes": _modes(found, prepared), "class-kl": _divergence(found, prepared)}


@dataclass(frozen=True)
class _Shares:
    """Class of each image, int64 ``[n]``, and images of each class, float64 ``[classes]``."""

    logits: FeatureSet
    labels: Tensor
    counts: Tensor

    @property
    def n(self) -> int:
        return len(self.labels)

    @property
    def shares(self) -> Tensor:
        return self.counts / self.n

    @cached_property
    def strata(self) -> Strata:
        return Strata.of(self.logits)

    @cached_property
    def covariance(self) -> Tensor:
        """Covariance ``[classes, classes]`` of an image's class, within strata."""
        strata, classes = self.strata, len(self.counts)
        table = torch.zeros(len(strata.shares), classes, dtype=torch.float64)
        one = torch.ones(self.n, dtype=torch.float64)
        table.index_put_((strata.labels, self.labels), one, accumulate=True)
        within = table / strata.counts[:, None]
        return torch.diag(self.shares) - within.T @ (strata.shares[:, None] * within)


def _count(logits: FeatureSet, name: str) -> _Shares:
    if logits.d < 2:
        raise MetricError(f"{name} has 1 column; give logits of at least 2 classes")
    labels = torch.cat([block.argmax(dim=1).cpu() for block in checked_blocks(logits, name)])
    return _Shares(logits, labels, torch.bincount(labels, minlength=logits.d).double())


def _modes(fake: _Shares, real: _Shares) -> Score:
    n = fake.n
    missing = (1 - real.shares[real.counts > 0]) ** n
    # Chance that neither of two classes is seen: they are not missed independently.
    present = real.shares[real.counts > 0]
    neither = (1 - present[:, None] - present).clamp_min(0) ** n
    covariance = neither - missing[:, None] * missing
    covariance.diagonal().copy_(missing * (1 - missing))
    details = {
        "in_reference": float((real.counts > 0).sum()),
        "expected_if_equal": float((1 - missing).sum()),
        "spread_if_equal": max(0.0, float(covariance.sum())) ** 0.5,
        # Good 1953: the share of images of classes not seen yet is that of classes seen once.
        "unseen_share": float((fake.counts == 1).sum()) / n,
    }
    reason = (
        "a count of classes seen can only fall short of the classes there are, so no interval "
        "around it is honest; compare it with expected_if_equal, give or take spread_if_equal"
    )
    return Score(float((fake.counts > 0).sum()), details=details, reason=reason)


def _divergence(fake: _Shares, real: _Shares) -> Score:
    """KL(generated shares || reference shares), less the bias of both sides (Miller 1955).

    Where the shares of strata were fixed, only what varies within them makes bias and error.
    """
    absent = ((fake.counts > 0) & (real.counts == 0)).nonzero()[:, 0].tolist()
    if absent:
        more = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
        return Score(
            None,
            details={"outside_reference": float(fake.counts[absent].sum()) / fake.n},
            reason=f"classes {', '.join(map(str, absent[:_NAMED]))}{more} are generated but do not "
            "occur in the reference, which makes the divergence infinite; use a larger reference, "
            "or one that holds these classes",
        )
    seen, known = fake.counts > 0, real.counts > 0
    p, q = fake.shares, real.shares
    ratio = torch.where(known, p / q, 0.0)
    surprise = torch.where(seen, ratio, 1.0).log()
    plain = float((p * surprise).sum())
    v, w = fake.covariance, real.covariance
    # Second derivatives of the divergence by the shares: 1/p, p/q² and, mixed, -1/q.
    by_p, by_q = torch.where(seen, 1 / p, 0.0), torch.where(known, ratio / q, 0.0)
    mixed = torch.where(known, 1 / q, 0.0)
    bias = float(v.diagonal() @ by_p) / (2 * fake.n) + float(w.diagonal() @ by_q) / (2 * real.n)
    a = fake.strata.centred(surprise[fake.labels])
    b = real.strata.centred(-ratio[real.labels])
    first_order = sum(float(x.var()) / len(x) for x in (a, b) if len(x) > 1)
    second_order = (
        _weighted(v, by_p, v, by_p) / (2 * fake.n**2)
        + _weighted(w, by_q, w, by_q) / (2 * real.n**2)
        + _weighted(v, mixed, w, mixed) / (fake.n * real.n)
    )
    scarce = int((seen & (real.counts < _FEW_IMAGES)).sum())
    notes: tuple[str, ...] = ()
    if plain < bias:
        notes += ("a value slightly below zero is right near equality: the bias is taken off",)
    if scarce:
        notes += (
            f"{scarce} of the generated classes have fewer than {_FEW_IMAGES} reference images: "
            "the correction and the error are rough; use a larger reference",
        )
    details = {"plain": plain, "bias": bias}
    law = SquaredDistance.of(first_order, second_order, plain)
    return Score(plain - bias, a, b, 0.0, details, notes, law=law)


def _weighted(a: Tensor, left: Tensor, b: Tensor, right: Tensor) -> float:
    """``Σ_kl left_k a_kl b_kl right_l``."""
    return float(left @ (a * b) @ right)
