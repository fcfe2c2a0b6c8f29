"""Teaches multimodal models to reason in chains that mix words and pictures."""
