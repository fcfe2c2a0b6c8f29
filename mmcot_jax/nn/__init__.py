"""Layers. Flax Linen lives here and in `models`, nowhere else."""
