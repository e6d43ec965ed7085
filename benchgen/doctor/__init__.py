"""The metric self-test: plants defects in real images and asks of every metric if it responds."""
