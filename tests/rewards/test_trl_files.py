"""19 reward files as users of TRL write them, of different make: a pool equals a direct call."""

import asyncio
import importlib.util
import inspect
import json
import math
import pathlib
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs import base
from mmcot_jax import data, rules
from mmcot_jax import mesh as meshes
from mmcot_jax.example import Example, Reply
from mmcot_jax.rewards.pool import Pool
from mmcot_jax.train import grpo

FOLDER = pathlib.Path(__file__).parent / "trl_files"
FILES = {
    "think_format": "think_format_reward",
    "accuracy": "accuracy_reward",
    "soft_overlong": "soft_overlong",
    "cosine_scaled": "cosine_scaled_reward",
    "repetition_penalty": "RepetitionPenalty",
    "exact_form": "format_reward",
    "tag_count": "tag_count_reward",
    "reasoning_steps": "reasoning_steps_reward",
    "length_of_batch": "len_reward",
    "length_of_all": "len_of_all_reward",
    "code_format": "code_format_reward",
    "with_dataclass": "weighted",
    "async_judge": "judged",
    "logs": "logged",
    "sees_images": "names_the_width",
    "keywords_only": "by_level",
    "a_partial": "share_of_e",
    "not_applicable": "counts_only",
    "any_order": "echo",
}
"""File -> the function that a config names."""
MESSAGES = {
    "think_format", "accuracy", "cosine_scaled", "exact_form", "tag_count", "reasoning_steps",
    "length_of_batch", "code_format",
}  # fmt: skip
NAMES = tuple(f"{FOLDER / file}.py:{function}" for file, function in FILES.items())


def question(id: str, width: int, answer: str, **extra) -> Example:
    return Example(id, (np.zeros((4, width, 3), np.uint8), f"What is {id}?"), answer, extra=extra)


GROUPS = (
    (question("3 * 4", 12, "12", level=1, kind="count", solution="12"), (
        "<think>\nStep 1: 3 + 3\nStep 2: + 6\n</think>\n<answer>\n12\n</answer>",
        "<think>Three times four.</think> It is 12!",
        "It is 13.",
        "",
    )),
    (question("a loop", 7, "for", level=3, kind="code", solution="no number"), (
        "<think>\nFirst, count.\n</think>\n<answer>\n```python\nfor i in x:\n```\n</answer>",
        "<think><think>for</think>",
        "- for\n- for\n- for, of width 7",
        "while",
    )),
)  # fmt: skip


class Call(NamedTuple):
    """A function's direct call: its values and what it logged."""

    values: list[Any]
    metrics: dict[str, list[float]]
    extra: dict[str, list[Any]]


class Direct:
    """A file loaded as Python does, whose function is called as TRL's trainer does."""

    def __init__(self, file: str):
        spec = importlib.util.spec_from_file_location(f"direct_{file}", FOLDER / f"{file}.py")
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found = getattr(module, FILES[file])
        self.function = found() if inspect.isclass(found) else found
        self.messages = file in MESSAGES
        self.whole_batch = getattr(self.function, "whole_batch", False)
        self.loop = asyncio.new_event_loop()

    def __call__(self, rows: Sequence[tuple[Example, str, Sequence[int]]], step: int) -> Call:
        """Calls the function once for rows of (example, completion, its ids)."""
        examples, completions, ids = (list(column) for column in zip(*rows, strict=True))
        prompts = [f"<image>{example.prompt[1]}" for example in examples]
        if self.messages:
            prompts = [[{"role": "user", "content": text}] for text in prompts]
            completions = [[{"role": "assistant", "content": text}] for text in completions]
        call = Call([], {}, {})
        given = {
            "prompts": prompts,
            "completions": completions,
            "completion_ids": [list(row) for row in ids],
            "images": [[Image.fromarray(example.prompt[0])] for example in examples],
            "trainer_state": SimpleNamespace(global_step=step),
            "log_metric": lambda name, value: call.metrics.setdefault(name, []).append(value),
            "log_extra": call.extra.__setitem__,
            "answer": [example.answer for example in examples],
            "solution": [example.extra["solution"] for example in examples],
            "level": [example.extra["level"] for example in examples],
            "kind": [example.extra["kind"] for example in examples],
        }
        parameters = inspect.signature(self.function).parameters.values()
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            given = {p.name: given[p.name] for p in parameters}
        values = self.function(**given)
        values = self.loop.run_until_complete(values) if inspect.isawaitable(values) else values
        call.values.extend(math.nan if value is None else value for value in values)
        return call

    def batch(self, rows: Sequence[Any], size: int, step: int) -> Call:
        """Calls the function once for each `size` rows, or once for all if it sets that."""
        size = len(rows) if self.whole_batch else size
        calls = [self(rows[first : first + size], step) for first in range(0, len(rows), size)]
        metrics = {name: [v for c in calls for v in c.metrics[name]] for name in calls[0].metrics}
        extra = {name: [v for c in calls for v in c.extra[name]] for name in calls[0].extra}
        return Call([value for call in calls for value in call.values], metrics, extra)


def test_a_pool_equals_the_direct_call_of_every_file():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(FILES)
    examples = [example for example, texts in GROUPS for _ in texts]
    texts = [text for _, group in GROUPS for text in group]
    ids = [np.arange(n) % 3 for n in (3, 5, 7, 9, 4, 8, 0, 1)]
    replies = [Reply((text,)) for text in texts]
    functions = {file: Direct(file) for file in FILES}
    with Pool(NAMES, timeout_s=60.0, processes=1) as pool:
        for step in range(2):  # the second step finds the same event loop, the same instances
            scored = pool.submit(examples, replies, ids, step=step).result()
            assert scored.failures == ()
            for file, column in zip(FILES, scored.values.T.tolist(), strict=True):
                call = functions[file].batch(list(zip(examples, texts, ids, strict=True)), 4, step)
                np.testing.assert_array_equal(column, call.values, err_msg=file)
                means = {name: np.mean(logged) for name, logged in call.metrics.items()}
                assert scored.logged.get(FILES[file], {}) == means
                assert scored.extra.get(FILES[file], {}) == call.extra
                assert len(set(map(str, column))) > 1, f"{file} scores all completions alike"


@pytest.mark.slow
def test_a_run_is_trained_by_all_of_them_and_its_metrics_are_their_values(chameleon, tmp_path):
    image = np.zeros((4, 4, 3), np.uint8)
    extra = [{"level": 1 + i, "kind": ("count", "code")[i % 2], "solution": "4"} for i in range(4)]
    examples = [Example(f"q{i}", (image, "abcd"), "abcd"[i], extra=e) for i, e in enumerate(extra)]
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1, 1), rules.AXES)
    c = base.grpo(1e-2, 12) | {
        "reward_funcs": NAMES, "reward_weights": (), "prompts_per_step": 4,
        "num_generations": 4, "max_steps": 1, "save_steps": 1, "log_completions_steps": 1,
        "length_multiple": 4, "logps_chunk": 8, "reward_processes": 1, "reward_timeout": 60.0,
        "preflight": False,
    }  # fmt: skip
    variables = jax.tree.map(jnp.copy, chameleon.variables)
    variables = jax.device_put(variables, meshes.shardings(variables, mesh))
    questions = grpo.Questions(data.Rendered(examples, chameleon.backbone.renderer.prompt))
    grpo.run(
        chameleon.backbone, variables, lambda: questions, c, mesh=mesh, key=jax.random.key(7),
        seed=1, workdir=tmp_path, rollout_keep=None, rollout_mesh=mesh,
    )  # fmt: skip
    (metrics,) = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    file = tmp_path / "completions" / "grpo_step_00000.jsonl"
    kept = list(map(json.loads, file.read_text().splitlines()))
    by_id = {example.id: example for example in examples}
    rows = [(by_id[row["id"]], row["reply"], range(row["tokens"])) for row in kept]
    for file, name in FILES.items():
        column = np.array([np.nan if row[name] is None else row[name] for row in kept])
        if file != "repetition_penalty":  # the ids are not kept
            np.testing.assert_array_equal(column, Direct(file).batch(rows, 4, 0).values, file)
        assert metrics[f"rewards/{name}/mean"] == pytest.approx(np.nanmean(column), abs=1e-6)
        assert metrics[f"failures/{name}"] == 0
    assert metrics["judged"] == 4.0 and metrics["step"] == 0
    names = ("logged/reward", "logged/step")  # the trainer's own keep their names
    assert [metrics[n] for n in names] == [2 * metrics["rewards/logged/mean"], 0]
    assert [row["logged/answer"] for row in kept] == [row["reply"][:3] for row in kept]
    assert metrics["reward"] == pytest.approx(np.mean([sum_of(row) for row in kept]), abs=1e-5)


def sum_of(row: dict[str, Any]) -> float:
    """All rewards of a row; the weights are 1."""
    return sum(row[name] or 0.0 for name in FILES.values())
