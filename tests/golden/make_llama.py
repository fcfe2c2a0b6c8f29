"""Makes llama.npz: a tiny Llama and a LoRA adapter, weights, logits, continuations.

transformers' `LlamaForCausalLM` (eager attention, float32 on a CPU, tied
embeddings) under PEFT's adapter. Rows are padded on the left.

    pip install torch transformers peft && python tests/golden/make_llama.py
"""

import pathlib

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from transformers import LlamaConfig, LlamaForCausalLM

VOCAB, NEW = 40, 10


def run(model, ids, mask):
    """Logits [B T V], positions counted from the first real token."""
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask, position_ids=positions).logits


def greedy(model, ids, mask):
    """The likeliest `NEW` tokens, everything computed anew for each; least margin over the next."""
    margin = np.inf
    for _ in range(NEW):
        logits = run(model, ids, mask)[:, -1]
        first, second = logits.topk(2).values.T
        margin = min(margin, (first - second).min().item())
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
    return ids[:, -NEW:].numpy().astype(np.int32), margin


def main():
    """Writes llama.npz beside this file."""
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=1e-6, tie_word_embeddings=True,
        max_position_embeddings=64, attn_implementation="eager",
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
    )  # fmt: skip
    base = LlamaForCausalLM(config).eval()
    weights = {f"weights/{k}": v for k, v in base.state_dict().items() if k != "lm_head.weight"}
    targets = ["q_proj", "v_proj", "down_proj"]
    model = get_peft_model(base, LoraConfig(r=3, lora_alpha=12, target_modules=targets)).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            near = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            weight.copy_(near + 0.2 * torch.randn(weight.shape))
    weights |= {f"adapter/{k}": v for k, v in get_peft_model_state_dict(model).items()}
    random = np.random.RandomState(0)
    ids, mask = torch.from_numpy(random.randint(3, VOCAB, (3, 9))), torch.ones(3, 9, dtype=int)
    for row, pads in ((1, 2), (2, 5)):
        ids[row, :pads], mask[row, :pads] = 0, 0
    adapted, near = greedy(model, ids, mask)
    on = run(model, ids, mask)
    with model.disable_adapter():
        off, (plain, far) = run(model, ids, mask), greedy(model, ids, mask)
    path = pathlib.Path(__file__).with_name("llama.npz")
    np.savez_compressed(
        path, ids=ids.numpy().astype(np.int32), mask=mask.numpy().astype(bool), on=on.numpy(),
        off=off.numpy(), adapted=adapted, plain=plain,
        **{k: v.detach().numpy() for k, v in weights.items()},
    )  # fmt: skip
    print(path.name, path.stat().st_size, "least margins", far, near)


if __name__ == "__main__":
    main()
