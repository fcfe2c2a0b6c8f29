"""Times steps of TRL's GRPOTrainer on a model of random weights; needs torch, trl, peft, no jax.

    python -m venv trl && trl/bin/pip install torch trl transformers peft pillow

`trl_grpo_text.py` and `trl_grpo_qwen.py` give it their models; `compare.py` runs them beside ours.
"""

import argparse
import itertools
import json
import resource
import tempfile
import time
import zlib
from statistics import median

BEGAN = time.monotonic()

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from peft import LoraConfig  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402
from transformers import PreTrainedTokenizerFast, TrainerCallback  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

VOCABULARY = 2048
LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
DECODER = {
    "vocab_size": VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
    "max_position_embeddings": 1024,
}


def parser() -> argparse.ArgumentParser:
    """Returns the flags that all scripts have."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--steps", type=int, default=10, help="measured steps, after two others")
    flags.add_argument("--prompts", type=int, default=2)
    flags.add_argument("--generations", type=int, default=8)
    flags.add_argument("--prompt-tokens", type=int, default=32)
    flags.add_argument("--completion-tokens", type=int, default=64)
    return flags


def tokenizer(*marks: str) -> PreTrainedTokenizerFast:
    """Returns a tokenizer of `VOCABULARY` words w0, w1, ..., the first ids being `marks`."""
    words = [*marks, "<pad>", "</s>"]
    words += [f"w{number}" for number in range(VOCABULARY - len(words))]
    inner = Tokenizer(models.WordLevel({word: id for id, word in enumerate(words)}, "<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token="</s>",
        additional_special_tokens=list(marks),
    )


def checksum(completion_ids: list[list[int]], **_) -> list[float]:
    """Returns a number in [0, 1) for each completion: every group is informative."""
    return [zlib.crc32(json.dumps(ids).encode()) / 2**32 for ids in completion_ids]


class _Clock(TrainerCallback):
    def __init__(self):
        self.marks = []

    def on_step_end(self, *_, **__):
        used = resource.getrusage(resource.RUSAGE_SELF)
        self.marks.append((time.monotonic(), used.ru_utime + used.ru_stime))


def run(args: argparse.Namespace, model: torch.nn.Module, processor, prompts: list[dict]) -> None:
    """Trains for `steps` + 2 steps and prints one line of JSON: medians without the first two."""
    rows = args.prompts * args.generations
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        options = GRPOConfig(
            folder,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            per_device_train_batch_size=rows,
            num_generations=args.generations,
            max_completion_length=args.completion_tokens,
            max_steps=args.steps + 2,
            generation_kwargs={"min_new_tokens": args.completion_tokens},
            learning_rate=1e-5,
            beta=0.0,
            save_strategy="no",
            report_to="none",
            logging_steps=1,
            disable_tqdm=True,
        )
        trainer = GRPOTrainer(
            model,
            checksum,
            options,
            Dataset.from_list(prompts),
            processing_class=processor,
            peft_config=LoraConfig(r=8, lora_alpha=16, target_modules=LAYERS, lora_dropout=0.0),
            callbacks=[clock],
        )
        trainer.train()
    logged = [entry for entry in trainer.state.log_history if "completions/mean_length" in entry]
    wall, cpu = (
        [after - before for before, after in itertools.pairwise(times[1:])]
        for times in zip(*clock.marks, strict=True)
    )
    tokens = trainer.state.num_input_tokens_seen
    result = {
        "cpu_s": median(cpu),
        "wall_s": median(wall),
        "ready_s": clock.marks[0][0] - BEGAN,
        "ready_cpu_s": clock.marks[0][1],
        "completion_tokens": logged[-1]["completions/mean_length"],
        "tokens": tokens / len(clock.marks),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(result))
