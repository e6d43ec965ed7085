"""Whether an estimate is surely above or below a number that somebody has chosen."""

from __future__ import annotations

from scipy import stats

from benchgen.stats.estimates import Estimate


def p_at_least(found: Estimate, limit: float, *, share: bool = False) -> float:
    """p-value of an expectation of at least ``limit``: small where it is surely below.

    The error is the one that the estimate would have if the limit were its expectation, as far as
    that is known: by the law of a squared distance, and for a share no less than that of a count.
    1 where the value or its error is unknown.

    Args:
        found: A value with its error.
        limit: In the unit of the value.
        share: Whether it is a share of images.
    """
    return _tail(found, limit, share, below=True)


def p_at_most(found: Estimate, limit: float, *, share: bool = False) -> float:
    """p-value of an expectation of at most ``limit``; arguments as for ``p_at_least``."""
    return _tail(found, limit, share, below=False)


def _tail(found: Estimate, limit: float, share: bool, below: bool) -> float:
    if found.value is None or found.stderr is None:
        return 1.0
    error = found.stderr if found.law is None else found.law.variance_at(limit) ** 0.5
    if share:  # of one that is all or nothing the error is 0
        error = max(error, max(0.0, limit * (1 - limit) / found.n) ** 0.5)
    excess = limit - found.value if below else found.value - limit
    if error == 0:
        return 0.0 if excess > 0 else 1.0
    clustered = found.clusters is not None or found.real_clusters is not None
    z = excess / error
    if clustered and found.degrees is not None:
        return float(stats.t.sf(z, found.degrees))
    return float(stats.norm.sf(z))
