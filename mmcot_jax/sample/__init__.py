"""Sampling: which tokens are legal, their distribution, and the decoding loop."""
