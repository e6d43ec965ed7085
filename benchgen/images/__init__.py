"""Sources of images by index, decoding, resizing, and noise addressed by index."""
