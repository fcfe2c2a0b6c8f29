"""A run of seconds: flags of the tiny config, made smaller."""

import pathlib

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = str(ROOT / "configs/m2m.py")
REWARDS = ROOT / "tests" / "rewards" / "some_rewards.py"
SMALL = (
    "stages=sft,grpo,eval",
    "data.train.kinds=color_grid",
    "data.train.count=24",
    "data.train.processes=0",
    "sft.max_steps=6",
    "sft.batch_size=16",
    "sft.gradient_accumulation_steps=2",
    "sft.logging_steps=1",
    "sft.save_steps=2",
    "data.grpo.kinds=color_grid",
    "data.grpo.count=24",
    "data.grpo.processes=0",
    f"grpo.reward_funcs={REWARDS}:length",
    "grpo.reward_weights=1.0",
    "grpo.prompts_per_step=8",
    "grpo.num_generations=2",
    "grpo.max_completion_length=72",
    "grpo.mask_truncated_completions=false",
    "grpo.max_steps=4",
    "grpo.eval_steps=2",
    "grpo.eval_count=8",
    "grpo.save_steps=1",
    "grpo.log_completions_steps=2",
    "model.decoder.width=48",
    "model.decoder.mlp=64",
    "eval.data.kinds=color_grid,size_cycle",
    "eval.count=3",
    "eval.transfer_count=3",
    "eval.batch_size=8",
    "eval.max_completion_length=72",
)

TINIEST = (
    "data.train.count=16",
    "data.grpo.count=16",
    "model.decoder.width=16",
    "model.decoder.mlp=16",
    "model.decoder.layers=1",
    "model.decoder.unroll=1",
    # pictures of 2 x 2 ids
    "model.vqgan_weights=",
    "model.vqgan.ch=4",
    "model.vqgan.ch_mult=1,2",
    "model.vqgan.z_channels=4",
    "model.vqgan.embed_dim=4",
    "model.vqgan.resolution=4",
    "model.vqgan.groups=2",
    "sft.max_steps=4",
    "sft.batch_size=8",
    "sft.gradient_accumulation_steps=1",
    "sft.learning_rate=0.1",  # so that it draws
    "sft.warmup_steps=0",
    "sft.save_steps=100",  # what is saved before the end is saved at the notice
    "grpo.max_steps=3",
    "grpo.max_completion_length=16",
    "grpo.eval_count=6",
    "grpo.log_completions_steps=1",
    "grpo.num_completions_to_print=0",
    # 13 questions in batches of 8: the processes' shares of the last are 4 and 1
    "eval.count=7",
    "eval.transfer_count=6",
    "eval.max_completion_length=16",
)
"""Changes for a model of one layer that draws pictures of 2 x 2 ids."""


def flags(workdir, *overrides: str, preset: str = "tiny") -> list[str]:
    changes = [f"--config.{o}" for o in (*SMALL, *overrides)]
    return ["--config", f"{CONFIG}:{preset}", "--workdir", str(workdir), *changes]
