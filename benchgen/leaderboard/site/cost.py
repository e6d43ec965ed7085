"""Quality against what a model costs: who is beaten on neither."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from benchgen.leaderboard.site.view import Model
from benchgen.report import plots
from benchgen.report.numbers import significant, size
from benchgen.report.standings import Column
from benchgen.runs.documents import Execution


@dataclass(frozen=True)
class Cost:
    """One thing that models are paid for with, or their speed."""

    title: str
    axis: str
    better: str
    of: Callable[[Model], float | None]
    text: Callable[[float], str]


def speed(model: Model) -> float | None:
    """Images a second while the model sampled; None where nothing was sampled then."""
    spent = _sampling(model)
    return spent.images_made / spent.source_seconds if spent and spent.source_seconds else None


def memory(model: Model) -> float | None:
    """Bytes at most: of the device where one was used, else of the whole process."""
    spent = _sampling(model)
    return (spent.peak_device_bytes or spent.peak_rss_bytes) if spent else None


def parameters(model: Model) -> float | None:
    """Numbers that the model learnt."""
    return model.row.result.document.source.model_parameters


def _sampling(model: Model) -> Execution | None:
    """What it took to sample; None where images came from files, or from the store."""
    document = model.row.result.document
    sampled = document.source.seed is not None and document.execution.images_made > 0
    return document.execution if sampled else None


COSTS = (
    Cost("Sampling speed", "images a second", "higher", speed, lambda v: significant(v, 3)),
    Cost("Memory", "bytes at most, of the whole process", "lower", memory, size),
    Cost("Parameters", "learnt numbers", "lower", parameters, lambda v: f"{v:,.0f}"),
)


@dataclass(frozen=True)
class Trade:
    """One cost against quality: the models that have both, and those that none beats on both."""

    cost: Cost
    column: Column
    points: list[tuple[Model, float, float]]
    front: frozenset[str]

    @property
    def plot(self) -> Markup:
        """A scatter plot as inline SVG; the front is joined by steps, and named."""
        best = ", ".join(m.name for m, _, _ in self.points if m.name in self.front)
        described = f"{self.cost.title} against {self.column.heading}; beaten on neither: {best}"
        figure = plots.pareto(
            [(model.row, cost, quality) for model, cost, quality in self.points],
            self.front,
            across=f"{self.cost.axis} {'→' if self.cost.better == 'higher' else '←'}",
            text=self.cost.text,
            up=self.column,
        )
        return Markup(plots.to_svg(figure, f"cost-{self.cost.title}", described))


def trades(models: Sequence[Model], column: Column | None) -> list[Trade]:
    """Every cost that at least two models state, against one metric."""
    if column is None:
        return []
    values = {cell.row.name: cell.record.value for cell in column.ranked}
    found = []
    for cost in COSTS:
        points = [
            (model, paid, value)
            for model in models
            if (value := values.get(model.name)) is not None and (paid := cost.of(model))
        ]
        if len(points) > 1 and len({paid for _, paid, _ in points}) > 1:
            found.append(Trade(cost, column, points, _front(points, cost, column)))
    return found


def _front(points: list[tuple[Model, float, float]], cost: Cost, column: Column) -> frozenset[str]:
    """Names of the models that no other one equals or beats on both, being better on one."""
    signs = 1 if cost.better == "lower" else -1, 1 if column.metric.direction == "lower" else -1
    placed = [(signs[0] * paid, signs[1] * value, model.name) for model, paid, value in points]
    front, best = [], float("inf")
    for _, value, name in sorted(placed):
        if value < best:
            front.append(name)
            best = value
    return frozenset(front)
