"""Makes qwen25vl.npz: a tiny Qwen2.5-VL's patches, features, positions, logits, continuations.

Processor and network are transformers' `Qwen2VLImageProcessorPil` and
`Qwen2_5_VLForConditionalGeneration`, eager attention, float32 on a CPU. Of the 64 ids, 0..51 are
words. Rows are padded on the left. Logits are there twice: with a head of its own, and tied.

    pip install torch transformers && python tests/golden/make_qwen25vl.py
"""

import json
import pathlib

import numpy as np
import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

NEW = 8
PAD, OPEN, CLOSE, END, ENDOFTEXT, BEGIN = 56, 58, 59, 60, 61, 62
CONFIG = {
    "text_config": {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-6,
        "max_position_embeddings": 256,
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 100.0, "mrope_section": [2, 3, 3],
        },
    },
    "vision_config": {
        "depth": 3, "hidden_size": 16, "intermediate_size": 20, "num_heads": 2,
        "out_hidden_size": 32, "patch_size": 14, "spatial_merge_size": 2,
        "temporal_patch_size": 2, "window_size": 56, "fullatt_block_indexes": [1],
    },
    "image_token_id": PAD, "video_token_id": 57, "vision_start_token_id": OPEN,
    "vision_end_token_id": CLOSE, "eos_token_id": END, "pad_token_id": ENDOFTEXT,
    "image_processor": {"min_pixels": 3136, "max_pixels": 12845056},
}  # fmt: skip


def build(tied):
    """The model with normal weights, rounded to float16; norms about one."""
    own = {key: value for key, value in CONFIG.items() if key != "image_processor"}
    config = Qwen2_5_VLConfig(**own, tie_word_embeddings=tied, attn_implementation="eager")
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            near = 1.0 if "norm" in name or "ln_q" in name else 0.0
            loud = 0.08 if "patch_embed" in name else 0.25
            drawn = near + loud * torch.randn(weight.shape, generator=generator)
            weight.copy_(drawn.half().float())
    return model


def photos():
    """Three pictures with edges and slopes: 70 x 90, 60 x 60 and 120 x 64 pixels."""
    out = []
    for number, (h, w) in enumerate([(70, 90), (60, 60), (120, 64)]):
        y, x = np.indices((h, w))
        red = 255 * x / (w - 1)
        green = 255 * (((x // 11) + (y // 7)) % 2)
        blue = 127 + 127 * np.sin((number + 1) * (x - 2 * y) / 17)
        out.append(np.stack([red, green, blue], -1).astype(np.uint8))
    return out


def rows(grids):
    """Words and images: two images, one, none; left-padded to one length."""

    def image(number):
        _, h, w = grids[number]
        return [OPEN, *[PAD] * int(h * w // 4), CLOSE]

    texts = [
        [BEGIN, 7, *image(0), 11, 3, *image(2), 29, 40],
        [5, 44, *image(1), 13, 8, END, 2],
        [BEGIN, 17, 4, 33, 50],
    ]
    order = [0, 2, 1]
    longest = max(map(len, texts))
    ids = torch.tensor([[ENDOFTEXT] * (longest - len(t)) + t for t in texts])
    mask = torch.tensor([[0] * (longest - len(t)) + [1] * len(t) for t in texts])
    return ids, mask, order


def greedy(model, ids, mask, seen):
    """The likeliest `NEW` tokens, everything computed anew for each; least margin over the next."""
    margin = np.inf
    for _ in range(NEW):
        logits = run(model, ids, mask, seen)[0][:, -1]
        first, second = logits.topk(2).values.T
        margin = min(margin, (first - second).min().item())
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
    return ids[:, -NEW:], margin


def run(model, ids, mask, seen):
    """Logits [B T V] and positions [3 B T]."""
    kinds = (ids == PAD).int()
    with torch.no_grad():
        places, _ = model.model.get_rope_index(
            ids,
            mm_token_type_ids=kinds,
            image_grid_thw=seen["image_grid_thw"],
            attention_mask=mask,
        )
        out = model(input_ids=ids, attention_mask=mask, position_ids=places, **seen)
    return out.logits, places


def main():
    """Writes the file beside this one."""
    pictures = photos()
    processor = Qwen2VLImageProcessorPil(**CONFIG["image_processor"])
    each = [processor(picture, return_tensors="np") for picture in pictures]
    grids = [one["image_grid_thw"][0] for one in each]
    ids, mask, order = rows(grids)
    seen = {
        "pixel_values": torch.tensor(np.concatenate([each[i]["pixel_values"] for i in order])),
        "image_grid_thw": torch.tensor(np.stack([grids[i] for i in order])),
    }
    out = {f"in_photo{i}": picture for i, picture in enumerate(pictures)} | {
        "in_ids": ids.numpy(),
        "in_mask": mask.numpy(),
        "out_grids": np.stack(grids),
    }
    out["out_pixel_values"] = each[1]["pixel_values"]
    for tied in (False, True):
        model = build(tied)
        logits, places = run(model, ids, mask, seen)
        written, margin = greedy(model, ids, mask, seen)
        name = "tied" if tied else "untied"
        out |= {f"out_{name}_logits": logits.numpy(), f"out_{name}_greedy": written.numpy()}
        print(name, "least margin", margin, written.tolist())
        if not tied:
            out["out_positions"] = places.numpy() * mask.numpy()
            with torch.no_grad():
                features = model.model.visual(
                    seen["pixel_values"], grid_thw=seen["image_grid_thw"]
                ).pooler_output
            out["out_features"] = features.numpy()
            out |= {f"weights/{_saved(k)}": v.half().numpy() for k, v in model.state_dict().items()}
        else:
            head = model.state_dict()["model.language_model.embed_tokens.weight"]
            assert np.array_equal(head.half().numpy(), out["weights/model.embed_tokens.weight"]), (
                "both models have the same weights"
            )
    out = {k: v.astype(np.int32) if v.dtype == np.int64 else v for k, v in out.items()}
    path = pathlib.Path(__file__).with_name("qwen25vl.npz")
    np.savez_compressed(path, config=json.dumps(CONFIG), **out)
    print(path.name, path.stat().st_size, ids.shape, [g.tolist() for g in grids])


def _saved(name):
    """The name in a checkpoint."""
    name = name.replace("model.language_model.", "model.").replace("model.visual.", "visual.")
    return name


if __name__ == "__main__":
    main()
