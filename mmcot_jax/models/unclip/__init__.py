"""Stable unCLIP: paints pictures from embeddings of CLIP's image space.

Source: Stable Diffusion 2.1 unCLIP (arXiv 2112.10752, 2204.06125); SEED-LLaMA paints with it.
"""
