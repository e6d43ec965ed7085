"""Runs: plan, one pass over the images, run directory and result documents."""
