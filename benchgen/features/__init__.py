"""Extractors and measures, and the store that keeps what they found."""
