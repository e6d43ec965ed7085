"""All pairs of two sets of rows, a tile at a time: neighbours, and sums of kernels."""
