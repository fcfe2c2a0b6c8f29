"""Defaults of all paradigms: plain values, named as in TRL where TRL has the option."""

from ml_collections import ConfigDict


def adamw(learning_rate: float, **changes) -> dict:
    """Optimizer and schedule."""
    return {
        "optim": "adamw",
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
            "max_steps": -1,
            "batch_size": 16,
            "gradient_accumulation_steps": 1,
            "length_buckets": 1,
            "length_multiple": 64,
            "logps_chunk": 512,
            "logging_steps": 1,
            "save_steps": 500,
            "save_total_limit": 3,
        }
        | changes
    )


def grpo(learning_rate: float, max_completion_length: int, **changes) -> dict:
    """Reinforcement on groups of sampled chains."""
    return (
        adamw(learning_rate)
        | {
            "what": "lora",
            "num_train_epochs": 1.0,
            "max_steps": -1,
            "prompts_per_step": 32,
            "num_generations": 8,
            # sample on until all groups of a step are informative (DAPO)
            "dynamic_sampling": False,
            "max_num_gen_batches": 10,
            "num_iterations": 1,
            "gradient_accumulation_steps": 1,
            # sampling
            "max_completion_length": max_completion_length,
            "temperature": 1.0,
            "image_temperature": None,
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            # prompts are sampled in so many micro-batches; the KV cache holds one of them
            "rollout_micro_batches": 1,
            # the first reward decides whether a chain is right
            "reward_funcs": ("accuracy", "format"),
            "reward_weights": (1.0, 0.5),
            # those that only image tokens are credited with; (): every token, with all rewards
            "image_reward_funcs": (),
            "process_reward_funcs": (),
            "reward_timeout": 30.0,
            "reward_processes": 2,
            "chat": "auto",
            "scale_rewards": "group",
            "multi_objective_aggregation": "sum_then_normalize",
            # the objective
            "loss_type": "dapo",
            "importance_sampling_level": "token",
            "epsilon": 0.2,
            "epsilon_high": 0.28,
            "delta": None,
            "sapo_temperature_pos": 1.0,
            "sapo_temperature_neg": 1.05,
            "beta": 0.0,
            "use_bias_correction_kl": True,
            "text_weight": 1.0,
            "image_weight": 1.0,
            "mask_truncated_completions": False,
            # logging, evaluation, checkpoints
            "preflight": True,
            "logging_steps": 1,
            "log_completions_steps": 10,
            "num_completions_to_print": 0,
            "kl_steps": 0,
            "eval_steps": 0,
            "eval_count": 20,
            "num_generations_eval": 1,
            "metric_for_best_model": "accuracy",
            "load_best_model_at_end": False,
            "save_steps": 50,
            "save_total_limit": 2,
            # padded lengths
            "prompt_buckets": 1,
            "length_multiple": 64,
            "logps_chunk": 512,
        }
        | changes
    )


def sampling(max_completion_length: int, **changes) -> dict:
    """Sampling of answers in an evaluation."""
    return {
        "max_completion_length": max_completion_length,
        "temperature": 1.0,
        "image_temperature": None,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "greedy": True,
        # True: chains also continue from their own pictures, from another chain's, and without
        "picture_ablation": False,
        "batch_size": 64,
        "length_multiple": 64,
        # names out of `sets`; (): all of them
        "only": (),
        # checkpoints to evaluate into series.json: "all", "grpo", "grpo:50", "sft:last"
        "checkpoints": (),
        # files of answers for other harnesses: "lmms_eval", "vlmevalkit"
        "sample_formats": (),
    } | changes


def config(**parts) -> ConfigDict:
    """A config of these groups, by default on one mesh over all devices."""
    return ConfigDict(
        {
            "seed": 42,
            "mesh": {"data": 1, "fsdp": -1, "tensor": 1},
            # the mesh for sampling, like {"data": -1, "tensor": 4}; None: the same
            "rollout_mesh": None,
            # True: the frozen weights stay on both meshes during GRPO; False: they are resharded
            # before each phase; None: they stay if both copies need at most half of a device
            "rollout_keep": None,
            # "wandb", "trackio" or "mlflow" get metrics and completions too
            "log": {"tracker": "none", "project": "mmcot_jax"},
        }
        | parts
    )


def rollouts(tensor: int) -> dict:
    """A mesh for sampling: heads split over `tensor` devices, rows over the others."""
    return {"data": -1, "fsdp": 1, "tensor": tensor}


def shapes(prompt_tokens: int, prompt_slots: int, row_tokens: int, row_slots: int) -> dict:
    """Sizes of the data for `mmcot_jax.plan`, which reads none: tokens of the longest prompt and of
    the longest supervised row, and the most images (or windows of images) of either.
    """
    return {
        "prompt_tokens": prompt_tokens,
        "prompt_slots": prompt_slots,
        "row_tokens": row_tokens,
        "row_slots": row_slots,
    }
