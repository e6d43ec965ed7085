"""Training generators: data, validation by FID, checkpoints, and the model card."""
