"""A task, a way of judging, a reward and a backbone of a user's own, in a folder of their own."""

import json

import pytest
from helpers.flags import ROOT

from mmcot_jax import config, main, stages

TASK = '''
"""Which letter comes next?"""
from mmcot_jax.example import Example

EVALUATOR = "judge.py"
LAZY_IMAGES = False
COSMETIC_OPTIONS = ("verbose",)

def stream(count, split="train", verbose=False):
    for n in range(count):
        letter, answer = "abcdefgh"[n % 8], "bcdefghi"[n % 8]
        yield Example(f"{split}/{n}", (f"{letter}:",), answer, (answer,))

def load(count, split="train", verbose=False):
    return list(stream(count, split, verbose))
'''
JUDGE = """
def correct(answered):
    return tuple(a.reply.text == a.example.answer for a in answered)

def summarize(answered):
    right = correct(answered)
    rows = [{"id": a.example.id, "reply": a.reply.text} for a in answered]
    return {"accuracy": sum(right) / len(right)}, rows
"""
REWARDS = """
def exact(example, reply):
    return float(reply.text == example.answer)
"""
BACKBONE = '''
"""A decoder over bytes."""
import dataclasses

import jax.numpy as jnp

from mmcot_jax import models
from mmcot_jax.keytable import Table
from mmcot_jax.nn.decoder_only import DecoderOnly, decoder_config
from mmcot_jax.types import Grammar

from .words import EOS, Bytes

@dataclasses.dataclass(frozen=True, eq=False)
class ByteDecoder(DecoderOnly):
    renderer: Bytes
    context: int

    @property
    def grammar(self):
        ids = jnp.arange(self.c.vocab)
        return Grammar(is_image=ids < 0, is_text=ids < EOS, eos=(EOS,))

def build(c, *, learn="chain", eos=True):
    return ByteDecoder(decoder_config(c), Bytes(), c["context"])

def load(backbone, c, key, mesh):
    return models.load_variables(backbone, c, key, mesh, table=Table(()), read=lambda shapes: {})

def picture_identity(c):
    return {}
'''
WORDS = """
import numpy as np

from mmcot_jax.example import Reply, Row

EOS = 128

class Bytes:
    def _row(self, example, prompt, rest):
        tokens = np.array([*prompt, *rest], np.int32)
        learned = np.arange(len(tokens)) >= len(prompt)
        return Row(example.id, tokens, np.arange(len(tokens), dtype=np.int32)[None], learned)

    def prompt(self, example):
        return self._row(example, "".join(example.prompt).encode(), [])

    def supervise(self, example):
        given, answer = "".join(example.prompt).encode(), "".join(example.rationale).encode()
        return self._row(example, given, [*answer, EOS])

    def read(self, ids):
        return Reply((bytes(int(i) for i in ids if i < EOS).decode("ascii"),))
"""
CONFIG = f"""
import sys
sys.path.append({str(ROOT)!r})
from configs import base

PRESETS = ("tiny",)

def get_config(preset):
    lr = {{"what": "all", "batch_size": 8, "length_multiple": 4}}
    return base.config(
        stages=("sft", "grpo", "eval"),
        model={{
            "backbone": "FOLDER/backbone", "weights": "", "tokenizer": "", "preprocess": "",
            "adapter": "", "context": 16,
            "decoder": {{"vocab": 130, "width": 32, "layers": 1, "heads": 2, "kv_heads": 2,
                         "mlp": 32, "remat": False}},
            "lora": {{"rank": 0, "alpha": 1.0, "dropout": 0.0, "targets": ()}},
        }},
        data={{"task": "FOLDER/next_letter.py", "train": {{"count": 64}}, "grpo": {{"count": 64}},
              "store": "", "tokenize_batch": 8}},
        sft=base.sft(1e-2, **lr, max_steps=60),
        grpo=base.grpo(1e-3, 4, what="all", prompts_per_step=8, num_generations=4, max_steps=2,
                       reward_funcs=("FOLDER/rewards.py:exact",), reward_weights=(1.0,),
                       reward_processes=1, length_multiple=4, preflight=False,
                       eval_steps=2, eval_count=8),
        eval=base.sampling(4, batch_size=8, length_multiple=4) | {{"data": {{"count": 8}}}},
    )
"""


@pytest.fixture
def folder(tmp_path):
    files = {
        "next_letter.py": TASK, "judge.py": JUDGE, "rewards.py": REWARDS,
        "backbone/__init__.py": BACKBONE, "backbone/words.py": WORDS,
        "my_config.py": CONFIG.replace("FOLDER", str(tmp_path)),
    }  # fmt: skip
    (tmp_path / "backbone").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_user_s_own_parts_are_trained_without_a_line_of_the_package_changed(folder):
    workdir = folder / "run"
    assert main.main(["--config", f"{folder}/my_config.py", "--workdir", str(workdir)]) == 0
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    sft = [line["loss"] for line in lines if line["stage"] == "sft"]
    assert sft[0] > 3 and sft[-1] < 0.2
    grpo = [line for line in lines if line["stage"] == "grpo"]
    assert grpo[0]["rewards/exact/mean"] > 0.8
    assert grpo[1]["eval_accuracy"] == 1
    results = json.loads((workdir / "results.json").read_text())
    assert results["next_letter"] == {"accuracy": 1.0}
    assert len((workdir / "completions/eval.jsonl").read_text().splitlines()) == 8


def test_a_file_that_is_not_a_task_or_a_judge_is_refused_with_what_it_lacks(folder):
    spec = f"{folder}/my_config.py"
    (folder / "judge.py").write_text("def correct(answered): ...")
    with pytest.raises(ValueError, match=r"judge.py.* summarize"):
        stages.check(config.load(spec))
    (folder / "other.py").write_text("def load(count): ...")
    with pytest.raises(ValueError, match=r"data.task is .*other.py', which does not define EVAL"):
        stages.check(config.load(spec, [f"data.task={folder}/other.py"]))
