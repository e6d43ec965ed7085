"""Metric families: feature sets in, scores with influence out. No files, no plugins."""
