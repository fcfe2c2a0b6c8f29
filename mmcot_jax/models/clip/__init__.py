"""CLIP: images and texts in one space (arXiv 2103.00020)."""
