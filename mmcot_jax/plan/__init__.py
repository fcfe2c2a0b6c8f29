"""Estimates what a config needs on a TPU slice: memory, bytes sent, a lower bound of time."""
