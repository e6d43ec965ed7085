"""One question of a gate on its way to a verdict: its tests, over as many looks as it takes."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchgen.gate.documents import CheckRecord, Word
from benchgen.stats.paired import Difference
from benchgen.stats.sequential import Looks


@dataclass
class Test:
    """One-sided p-values of one hypothesis, a look each."""

    looks: Looks
    nominal: list[float] = field(default_factory=list)

    @property
    def p(self) -> float:
        return self.looks.p_value(self.nominal)


@dataclass
class Question:
    """One thing asked of one generator: of a metric, or of its classes' shares.

    ``worse`` and ``within`` hold one test a side that harm can lie on: one for a metric, two a
    class. Any of the first rejected is harm; all of the second are needed for none.
    """

    generator: str
    check: str
    looks: Looks
    margin: float = 0.0
    grows: bool = False
    worse: dict[str, Test] = field(default_factory=dict)
    within: dict[str, Test] = field(default_factory=dict)
    better: Test | None = None
    too_good: Test | None = None
    shown: CheckRecord | None = None
    same: bool = False
    settled: Word | None = None
    error: float = 0.0
    reason: str = ""

    @property
    def goes_on(self) -> bool:
        """Whether a look is left."""
        return len(next(iter(self.worse.values())).nominal) < len(self.looks.sizes)

    @property
    def p_worse(self) -> float:
        return min(1.0, len(self.worse) * min(test.p for test in self.worse.values()))

    @property
    def p_within(self) -> float:
        return max(test.p for test in self.within.values())

    def ask(self, side: str, harm: Difference) -> None:
        """Add a look at one side. Harm without a known error settles nothing."""
        within = self.margin
        if self.grows:
            # Few images show less of a harm than the budget does: as if it grew with their square.
            looked = len(self.worse[side].nominal) if side in self.worse else 0
            within *= (self.looks.sizes[looked] / self.looks.sizes[-1]) ** 2
        at_most, at_least = harm.p_at_most(self.margin), harm.p_at_least(within)
        for tests, p in ((self.worse, at_most), (self.within, at_least)):
            tests.setdefault(side, Test(self.looks)).nominal.append(1.0 if p is None else p)
