"""Runs as one page to read: curves, tables, and every chain with its pictures and boxes. No jax."""
