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


def flags(workdir, *overrides: str, preset: str = "tiny") -> list[str]:
    changes = [f"--config.{o}" for o in (*SMALL, *overrides)]
    return ["--config", f"{CONFIG}:{preset}", "--workdir", str(workdir), *changes]
