"""What the pages of a board share: standings, places, and where each model's files are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

import numpy as np

from benchgen.leaderboard.board import Board
from benchgen.leaderboard.entries import Entry
from benchgen.leaderboard.ranking import Overall, overall
from benchgen.report.numbers import extent
from benchgen.report.standings import Cell, Column, Row, Standings
from benchgen.stats.ranking import Contest

MOST_DRAWN = 24
"""Models in a plot or a matrix: the best ones."""


@dataclass(frozen=True)
class Model:
    """One competing model, or a bound, as all pages show it. ``place`` is None for bounds."""

    row: Row
    entry: Entry
    place: Overall | None

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def page(self) -> str:
        """Its page, as a link from the index."""
        return f"models/{quote(self.name)}.html"

    @property
    def places(self) -> str:
        """The places that are open: ``"2–4"``."""
        return "–" if self.place is None else extent([self.place.best, self.place.worst])


class View:
    """A board made ready to be shown; computed once for all pages."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.standings = Standings.of(board.comparison)
        self.weights = board.document.weights

    @property
    def title(self) -> str:
        return self.board.document.title

    @cached_property
    def models(self) -> dict[str, Model]:
        """Models by place, then the bounds."""
        rows = {row.name: row for row in self.standings.rows}
        places = {one.model: one for one in overall(self.board.comparison, self.weights)}
        ordered = [*places, *(row.name for row in self.standings.bounds)]
        entries = self.board.entries
        return {name: Model(rows[name], entries[name], places.get(name)) for name in ordered}

    @property
    def competing(self) -> list[Model]:
        return [model for model in self.models.values() if model.place is not None]

    def cells(self, model: Model) -> list[Cell | None]:
        """A model's score in each column."""
        return [cells.get(model.name) for cells in self._cells]

    @cached_property
    def _cells(self) -> list[dict[str, Cell]]:
        columns = self.standings.columns
        return [{cell.row.name: cell for cell in column.cells} for column in columns]

    @property
    def ranking(self) -> list[Column]:
        """The metrics that have a better side."""
        return [column for column in self.standings.columns if column.arrow]

    @cached_property
    def contests(self) -> dict[str, Contest]:
        """By column, how models were told apart."""
        boards = self.board.comparison.boards
        return {board.key: board.contest for board in boards if board.contest is not None}


@dataclass(frozen=True)
class Matrix:
    """Who is told apart from whom on one metric, among the best models.

    ``lines`` holds a name and, for each of the names, "better", "worse", "tied" or None (itself).
    """

    names: tuple[str, ...]
    lines: list[tuple[str, list[str | None]]]
    left_out: int

    @classmethod
    def of(cls, contest: Contest, most: int = MOST_DRAWN) -> Matrix:
        names = contest.names[:most]
        k = len(names)
        words = np.where(contest.distinct[:k, :k], "worse", "tied").astype(object)
        words[np.triu_indices(k, 1)] = np.where(
            contest.distinct[:k, :k][np.triu_indices(k, 1)], "better", "tied"
        )
        np.fill_diagonal(words, None)
        lines = [(name, list(words[place])) for place, name in enumerate(names)]
        return cls(names, lines, len(contest.names) - k)
