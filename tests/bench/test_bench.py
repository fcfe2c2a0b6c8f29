"""A benchmark runs the steps of training on questions of the config's sizes."""

import json
import types
import zlib

import numpy as np
import pytest

from mmcot_jax import config
from mmcot_jax.bench import questions, rates
from mmcot_jax.bench.__main__ import main
from mmcot_jax.bench.reward import checksum
from mmcot_jax.example import Example, Picture, Reply
from mmcot_jax.plan import programs

TEXT = "configs/t2m.py:tiny-text"
SMALL = (
    "--config.model.decoder.layers=1",
    "--config.model.decoder.unroll=1",
    "--config.model.decoder.width=32",
    "--config.model.decoder.mlp=64",
    "--config.grpo.prompts_per_step=8",
    "--config.grpo.num_generations=2",
    "--config.grpo.max_completion_length=8",
    "--config.plan.prompt_tokens=24",
)


def build(name: str):
    c = config.load(name)
    return programs.build(c.model.to_dict(), learn=c.sft.learn, eos=c.sft.eos)


@pytest.mark.slow
def test_a_benchmark_of_a_tiny_config_reports_times_rates_and_what_was_compiled(tmp_path, capsys):
    file = tmp_path / "bench.json"
    assert main(["--config", TEXT, "--steps", "2", "--json", str(file), *SMALL]) == 0
    assert "| step | " in capsys.readouterr().out
    report = json.loads(file.read_text())
    assert {"device", "commit", "command", "config", "steps", "summary"} <= set(report)
    assert report["config"]["grpo"]["prompts_per_step"] == 8
    assert len(report["steps"]) == 2
    s = report["summary"]
    assert s["rows"] == 16
    assert s["decoded_per_token"] == 1, "all rows end together"
    assert s["completion_tokens"] == 16 * 8, "no completion ends early"
    assert s["tokens"] == 16 * (24 + 8)
    assert s["tokens_per_second"] == pytest.approx(s["tokens"] / s["step_s"])
    assert s["rollout_s"] + s["train_s"] < s["step_s"]
    assert s["first_step_compilation"]["programs"] > 0
    assert s["later_compilation"]["programs"] == 0
    assert 0 < s["train_utilization"] < 1
    assert s["rollout_over_floor"] > 1
    assert s["peak_bytes"] > 1e8
    rewards = [step["reward_std"] for step in report["steps"]]
    assert min(rewards) > 0, "every group teaches"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--steps", "0"), "--steps is 0; give 1 or more"),
        (("--config.stages=eval",), "stages is eval: a benchmark runs steps of grpo"),
        (("--config.grpo.num_generations=1",), "num_generations"),
        (("--json", "."), "--json is '.', a folder; give a file"),
    ],
)
def test_wrong_input_is_one_line(flags, message, capsys):
    assert main(["--config", TEXT, *flags]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize(
    ("name", "tokens", "slots", "images"),
    [
        ("configs/t2m.py:tiny", 56, 0, 0),
        ("configs/m2m.py:tiny", 80, 1, 1),
        ("configs/m2t.py:tiny", 72, 4, 1),
        ("configs/m2t.py:tiny", 72, 1, 1),
    ],
)
def test_questions_have_the_sizes_of_the_plan(name, tokens, slots, images):
    backbone = build(name)
    rows = questions.make(backbone, 3, tokens, slots)
    assert rows.lengths.tolist() == [tokens] * 3
    assert rows.slots.max(initial=0) <= slots
    row = rows[2]
    assert row.image_count == images if images else not row.images
    assert np.diff(row.positions[:, -3:]).tolist() == [[1, 1]] * backbone.position_axes


def test_questions_refuse_fewer_tokens_than_their_template_has():
    with pytest.raises(ValueError, match=r"plan.prompt_tokens is 2.*template"):
        questions.make(build("configs/m2m.py:tiny"), 1, 2, 1)
    with pytest.raises(ValueError, match="not even the smallest image fits"):
        questions.make(build("configs/m2t.py:tiny"), 1, 8, 1)


def test_a_backbone_without_eos_is_the_same_otherwise():
    backbone = build("configs/m2t.py:tiny")
    endless = questions.without_eos(backbone)
    assert backbone.grammar.eos and not endless.grammar.eos
    assert endless.c == backbone.c and isinstance(endless, type(backbone))


def test_the_reward_follows_from_text_and_ids():
    reply = Reply(("ab", Picture(np.array([1], np.int32))))
    expected = zlib.crc32(b"ab<image>" + b"\1\0\0\0") / 2**32
    assert checksum(Example("0", (), ""), reply) == expected
    assert checksum(Example("0", (), ""), Reply(("ab",))) != expected


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA GeForce RTX 4090", 165.2e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("Tesla T4", 65e12),
        ("TPU v5 lite", 197e12),
        ("TPU v5p", 459e12),
        ("cpu", None),
    ],
)
def test_peaks_are_found_by_the_kind_of_a_device(kind, peak):
    assert rates.peak(kind) == peak


def test_the_seconds_of_a_call_are_those_of_several_by_their_number(monkeypatch):
    made = []
    clock = types.SimpleNamespace(perf_counter=lambda: 3.0 * len(made))  # 3 s a call
    monkeypatch.setattr(rates, "time", clock)
    assert rates._fastest(lambda: made.append(1), times=2, calls=5) == 3.0
    assert len(made) == 1 + 2 * 5
