"""Reads the answer out of a reply's text. Host only, no jax."""
