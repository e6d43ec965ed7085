"""Second moments: what the Fréchet family computes with."""
