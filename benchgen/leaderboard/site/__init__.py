"""A leaderboard as a folder of plain files, to be opened from disk or put on any static host."""

from benchgen.leaderboard.site.build import render

__all__ = ["render"]
