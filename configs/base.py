"""What every paradigm's config starts from: plain values and names, TRL's where it has one."""

from ml_collections import ConfigDict


def adamw(learning_rate: float, **changes) -> dict:
    """Optimizer and schedule."""
    return {
        "learning_rate": learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
    } | changes


def sft(learning_rate: float, **changes) -> dict:
    """Supervised fine-tuning of adapters on the chain and the answer."""
    return (
        adamw(learning_rate)
        | {
            "what": "lora",
            "learn": "chain",
            "image_weight": 1.0,
            "eos": True,
            "num_train_epochs": 1.0,
            "max_steps": 0,
            "batch_size": 16,
            "gradient_accumulation_steps": 1,
            "length_multiple": 64,
            "logps_chunk": 512,
            "logging_steps": 1,
            "save_steps": 500,
            "save_total_limit": 3,
            "pad_id": 1,
        }
        | changes
    )


def sampling(max_completion_length: int, **changes) -> dict:
    """How answers are written."""
    return {
        "max_completion_length": max_completion_length,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "greedy": True,
        "batch_size": 64,
        "length_multiple": 64,
        "pad_id": 1,
    } | changes


def config(**parts) -> ConfigDict:
    """A config of these parts, on one mesh over all devices."""
    return ConfigDict({"seed": 42, "mesh": {"data": 1, "fsdp": -1, "tensor": 1}} | parts)
