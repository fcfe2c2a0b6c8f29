"""The values that an option chooses among, where code outside the table needs them too."""

STAGES = ("sft", "grpo", "eval")
WHAT = ("lora", "all")
OPTIMIZERS = ("adamw", "muon")
SCHEDULES = ("constant", "constant_with_warmup", "linear", "cosine")
LOSS_TYPES = ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo")
LEVELS = ("token", "sequence")
SCALES = ("group", "batch", "none")
AGGREGATIONS = ("sum_then_normalize", "normalize_then_sum")
LORA_TARGETS = {
    "q_proj": "q",
    "k_proj": "k",
    "v_proj": "v",
    "o_proj": "o",
    "gate_proj": "gate",
    "up_proj": "up",
    "down_proj": "down",
    "lm_head": "head",
}
"""PEFT's name of a layer that can have an adapter -> the name here."""
