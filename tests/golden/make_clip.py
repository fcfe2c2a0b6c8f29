"""Makes clip.npz: embeddings and logits of a tiny CLIP.

Weights are not stored: each is a function of its upstream name (drawn.py).

    pip install torch transformers && python tests/golden/make_clip.py
"""

import pathlib

import numpy as np
import torch
from drawn import weight
from transformers import CLIPConfig, CLIPModel

SIZES = {
    "projection_dim": 10,
    "vision_config": {
        "image_size": 28, "patch_size": 14, "hidden_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 3, "intermediate_size": 40, "hidden_act": "gelu",
    },
    "text_config": {
        "vocab_size": 64, "max_position_embeddings": 9, "hidden_size": 20, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 36, "hidden_act": "quick_gelu",
        "bos_token_id": 62, "eos_token_id": 2, "pad_token_id": 63,
    },
}  # fmt: skip


def main():
    """Writes clip.npz beside this file."""
    model = CLIPModel(CLIPConfig(**SIZES, attn_implementation="eager")).eval()
    for name, value in model.named_parameters():
        value.data = torch.from_numpy(np.asarray(weight(name, tuple(value.shape))))
    random = np.random.RandomState(0)
    pixels = random.standard_normal((2, 3, 28, 28)).astype(np.float32)
    ids = random.randint(0, 60, (3, 9)).astype(np.int32)
    ids[:, 0] = 62
    for row, end in zip(ids, (8, 4, 1), strict=True):
        row[end:] = 63
    with torch.no_grad():
        made = model(input_ids=torch.from_numpy(ids).long(), pixel_values=torch.from_numpy(pixels))
    path = pathlib.Path(__file__).with_name("clip.npz")
    np.savez_compressed(
        path, pixels=pixels.transpose(0, 2, 3, 1), ids=ids, images=made.image_embeds.numpy(),
        texts=made.text_embeds.numpy(), logits=made.logits_per_image.numpy(),
    )  # fmt: skip
    print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
