"""Makes chameleon.npz and chameleon_swin.npz: tiny Chameleons' weights, logits, continuations.

The network is transformers' `ChameleonForConditionalGeneration`, eager attention, float32 on a
CPU. Of the 48 ids, 4..15 are codes. Rows are padded on the left.

    pip install torch transformers && python tests/golden/make_chameleon.py
"""

import pathlib

import numpy as np
import torch
from transformers import ChameleonConfig, ChameleonForConditionalGeneration, ChameleonVQVAEConfig

VOCAB, CODES, NEW = 48, 12, 10
SIZES = {
    "chameleon": {"hidden_size": 40, "num_attention_heads": 5, "num_key_value_heads": 1},
    "chameleon_swin": {
        "hidden_size": 32,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "swin_norm": True,
    },
}


def build(sizes):
    """The model with normal weights; norms about one, and not one."""
    words = {f"IMGIMG{'ABCDEFGHIJ'[i // 10]}{'ABCDEFGHIJ'[i % 10]}Z": 4 + i for i in range(CODES)}
    config = ChameleonConfig(
        vocab_size=VOCAB, intermediate_size=56, num_hidden_layers=2, max_position_embeddings=64,
        vocabulary_map={**words, "<image>": VOCAB - 1}, attn_implementation="eager",
        vq_config=ChameleonVQVAEConfig(
            embed_dim=4, num_embeddings=CODES, latent_channels=4, resolution=4,
            base_channels=32, channel_multiplier=[1], num_res_blocks=1,
        ), **sizes,
    )  # fmt: skip
    model = ChameleonForConditionalGeneration(config).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            near = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            weight.copy_(near + 0.25 * torch.randn(weight.shape))
    return model


def run(model, ids, mask, masked):
    """Logits [B T V]; `masked`: as the library returns them, else straight from the head."""
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    with torch.no_grad():
        if masked:
            return model(**inputs).logits
        return model.lm_head(model.model(**inputs).last_hidden_state)


def greedy(model, ids, mask, masked):
    """The likeliest `NEW` tokens, everything computed anew for each; least margin over the next."""
    margin = np.inf
    for _ in range(NEW):
        logits = run(model, ids, mask, masked)[:, -1]
        first, second = logits.topk(2).values.T
        margin = min(margin, (first - second).min().item())
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
    return ids[:, -NEW:], margin


def main():
    """Writes the files beside this one."""
    random = np.random.RandomState(0)
    ids = torch.from_numpy(random.randint(0, VOCAB - 1, (3, 11)))
    ids[0, 2:8] = torch.tensor([17, 5, 9, 15, 4, 16])  # a picture between its marks
    mask = torch.ones_like(ids)
    for row, pads in ((1, 3), (2, 6)):
        ids[row, :pads], mask[row, :pads] = 1, 0
    for name, sizes in SIZES.items():
        model = build(sizes)
        weights = {f"weights/{k}": v.numpy() for k, v in model.state_dict().items()}
        weights = {k: v for k, v in weights.items() if ".vqmodel." not in k}
        free, far = greedy(model, ids, mask, masked=False)
        words, near = greedy(model, ids, mask, masked=True)
        path = pathlib.Path(__file__).with_name(f"{name}.npz")
        np.savez_compressed(
            path, ids=ids.numpy().astype(np.int32), mask=mask.numpy().astype(bool),
            logits=run(model, ids, mask, masked=False).numpy(),
            free=free.numpy().astype(np.int32), words=words.numpy().astype(np.int32), **weights,
        )  # fmt: skip
        print(path.name, path.stat().st_size, "least margins", far, near)


if __name__ == "__main__":
    main()
