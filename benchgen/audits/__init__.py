"""Bias, diversity, copying and artifacts in images, judged against what a user declares."""
