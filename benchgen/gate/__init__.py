"""Regression gate: accepted baselines, and verdicts on what has changed since."""
