"""The policy that goes through the stages: trained on, evaluated, exported and resumed, as a table.

Every order of the two stages that train, every pair of `what`, the last and the best of GRPO.
"""

import gc
import json
import shutil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny
from ml_collections import ConfigDict

from configs import base
from mmcot_jax import export, hf, rules, stages
from mmcot_jax.evals import evaluate
from mmcot_jax.hosts import Preempted, never_preempted
from mmcot_jax.models import chameleon
from mmcot_jax.models.chameleon import weights
from mmcot_jax.train import optim, step

TASK = """
from mmcot_jax.example import Example

EVALUATOR = "judge.py"
LAZY_IMAGES = False
COSMETIC_OPTIONS = ()

def stream(count, split="train"):
    for n in range(count):
        letter = "abcdefgh"[n % 8]
        yield Example(f"{split}/{n}", (letter,), letter, (letter * 3,))

def load(count, split="train"):
    return list(stream(count, split))
"""
JUDGE = """
def correct(answered):  # all steps are as good: the first is the best
    return (True,) * len(answered)

def summarize(answered):
    return {"accuracy": 1.0}, [{"id": a.example.id} for a in answered]
"""
REWARD = """
def mixed(example, reply):  # differs between the samples of a group
    return sum(map(ord, reply.text)) % 7 / 7
"""


class Row(NamedTuple):
    """The names of the weights: "base", or "STAGE STEP CHECKPOINT"."""

    order: str
    what: str
    """Of each stage, in order."""
    handed_on: str
    """`grpo.load_best_model_at_end`: best or last."""
    starts: tuple[str, str]
    """The policies that the stages start from."""
    below: tuple[str, str]
    """The decoders below the adapters that they train; "-": the decoder is trained."""
    evaluated: tuple[str, str, str]
    """The policies of the evaluations: before the stages, between them, after them."""
    peft: str
    """The decoder that the exported adapter belongs to; "-": there is none; "refused"."""


S, G, B = "sft 2 last", "grpo 2 last", "grpo 1 best"
TABLE = [
    # order       what         hand on  starts          below           evaluated          peft
    Row("sft,grpo", "lora,lora", "last", ("base", S), ("base", "base"), ("base", S, G), "base"),
    Row("sft,grpo", "lora,lora", "best", ("base", S), ("base", "base"), ("base", S, B), "base"),
    Row("sft,grpo", "lora,all", "last", ("base", S), ("base", "-"), ("base", S, G), "-"),
    Row("sft,grpo", "lora,all", "best", ("base", S), ("base", "-"), ("base", S, B), "-"),
    Row("sft,grpo", "all,lora", "last", ("base", S), ("-", S), ("base", S, G), "refused"),
    Row("sft,grpo", "all,lora", "best", ("base", S), ("-", S), ("base", S, B), "refused"),
    Row("sft,grpo", "all,all", "last", ("base", S), ("-", "-"), ("base", S, G), "-"),
    Row("sft,grpo", "all,all", "best", ("base", S), ("-", "-"), ("base", S, B), "-"),
    Row("grpo,sft", "lora,lora", "last", ("base", G), ("base", "base"), ("base", G, S), "base"),
    Row("grpo,sft", "lora,lora", "best", ("base", B), ("base", "base"), ("base", B, S), "base"),
    Row("grpo,sft", "lora,all", "last", ("base", G), ("base", "-"), ("base", G, S), "-"),
    Row("grpo,sft", "lora,all", "best", ("base", B), ("base", "-"), ("base", B, S), "-"),
    Row("grpo,sft", "all,lora", "last", ("base", G), ("-", G), ("base", G, S), "refused"),
    Row("grpo,sft", "all,lora", "best", ("base", B), ("-", B), ("base", B, S), "refused"),
    Row("grpo,sft", "all,all", "last", ("base", G), ("-", "-"), ("base", G, S), "-"),
    Row("grpo,sft", "all,all", "best", ("base", B), ("-", "-"), ("base", B, S), "-"),
]


def arrays(tree):
    """Numpy copies; a view would keep the weights in memory that a stage gives away."""
    return jax.tree.map(lambda x: np.array(jnp.copy(x)), tree)


def effective(params, lora=None):
    """The decoder that a policy amounts to, its adapters merged, flat."""
    found = hf.flatten(arrays(params["decoder"]))
    adapters = hf.flatten(arrays(lora["decoder"])) if lora else {}
    for *layer, name in [path for path in adapters if path[-1] == "a"]:
        a, b = adapters[(*layer, name)], adapters[(*layer, "b")]
        found[(*layer, "kernel")] = found[(*layer, "kernel")] + tiny.LORA.alpha / 4 * a @ b
    return found


def same(a, b):
    return all(np.allclose(a[path], b[path], atol=1e-6) for path in a)


class Table:
    """Runs in folders, and what was seen of them."""

    def __init__(self, folder, patch):
        self.folder, self.patch = folder, patch
        made = tiny.chameleon()
        self.backbone, params = made.backbone, made.variables["params"]
        self.params, self.base, self.runs = params["decoder"], effective(params), {}
        self.like = jax.eval_shape(made.backbone.init, jax.random.key(0))
        weights.save(self.backbone, params, folder / "base")
        self.model = tiny.config("chameleon", self.backbone, folder)
        shutil.copyfile(folder / "tokenizer.json", folder / "base" / "tokenizer.json")
        for name, text in (("task", TASK), ("judge", JUDGE), ("reward", REWARD)):
            (folder / f"{name}.py").write_text(text)
        one = np.array(jax.devices()[:1]).reshape(1, 1, 1)
        self.mesh = jax.sharding.Mesh(one, rules.AXES)
        patch.setattr(stages, "make_meshes", lambda c: (self.mesh, self.mesh))
        # one backbone and one optimizer for equal options: equal programs are compiled once
        patch.setattr(chameleon, "build", lambda c, **_: self.backbone)
        real, made = step.optimizer, {}
        patch.setattr(step, "optimizer", lambda c, n: made.setdefault(repr(c), real(c, n)))
        load, self.loaded = chameleon.load, {}

        def load_once(backbone, c, key, mesh):
            if mesh not in self.loaded:
                self.loaded[mesh] = load(backbone, c, key, mesh)
            return jax.tree.map(jnp.copy, self.loaded[mesh])

        patch.setattr(chameleon, "load", load_once)

    def config(self, order, what, best=False):
        chosen = dict(zip(order.split(","), what.split(","), strict=True))
        first, second = order.split(",")
        lr = {"max_steps": 2, "length_multiple": 4, "logps_chunk": 4, "save_steps": 1}
        lr |= {"lr_scheduler_type": "constant"}
        return ConfigDict(
            base.config(
                stages=("eval", first, "eval", second, "eval"),
                model=self.model | {"weights": str(self.folder / "base")},
                data={
                    "task": f"{self.folder}/task.py", "train": {"count": 16}, "store": "",
                    "grpo": {"count": 16}, "tokenize_batch": 8,
                },
                sft=base.sft(3e-3, what=chosen["sft"], batch_size=4, **lr),
                grpo=base.grpo(
                    1e-2, 8, what=chosen["grpo"], prompts_per_step=4, num_generations=2,
                    reward_funcs=(f"{self.folder}/reward.py:mixed",), reward_weights=(1.0,),
                    reward_processes=1, preflight=False, eval_steps=1, eval_count=4,
                    log_completions_steps=0, load_best_model_at_end=best, **lr,
                ),
                eval=base.sampling(4, batch_size=4, length_multiple=4) | {"data": {"count": 4}},
            )
        ).lock()  # fmt: skip

    def run(self, c, workdir, preempted=never_preempted):
        """Runs all stages; returns what was seen."""
        stages.check(c)
        workdir.mkdir(exist_ok=True)
        (workdir / "config.json").write_text(json.dumps(c.to_dict()))
        seen: dict[str, Any] = {name: [] for name in ("starts", "evaluated", "read", "exact")}
        seen["copies"] = {}
        gc.collect()
        before = self.copies()
        with self.patch.context() as patch:
            split, judge = optim.split, evaluate.evaluate

            def spy_split(variables, what):
                seen["starts"].append(effective(**variables))
                return split(variables, what)

            def spy_evaluate(backbone, variables, *args, **options):
                seen["evaluated"].append(effective(**variables))
                seen["exact"].append(arrays(variables))
                return judge(backbone, variables, *args, **options)

            patch.setattr(optim, "split", spy_split)
            patch.setattr(evaluate, "evaluate", spy_evaluate)
            for name in ("sft", "grpo"):
                make_step = getattr(step, f"{name}_step")

                def spy_step(*args, name=name, make_step=make_step):
                    seen["copies"].setdefault(name, self.copies() - before)
                    return make_step(*args)

                patch.setattr(step, f"{name}_step", spy_step)
            for name, read in stages.DATA.items():
                patch.setitem(
                    stages.DATA, name, lambda run, n=name, r=read: seen["read"].append(n) or r(run)
                )
            stages.run_all(stages.Run(c, workdir, preempted))
        return seen

    def copies(self):
        """The number of arrays on devices with the shape of the embedding, but those kept here."""
        shape = tiny.DECODER.vocab, tiny.DECODER.width
        return sum(x.shape == shape for x in jax.live_arrays()) - len(self.loaded)

    def finished(self, order, what):
        """The folder of a whole run that hands on the last step, and what was seen of it."""
        if (order, what) not in self.runs:
            workdir = self.folder / f"{order}-{what}"
            self.runs[order, what] = workdir, self.run(self.config(order, what), workdir)
        return self.runs[order, what]

    def of(self, row):
        """The run of a row of the table."""
        last, seen = self.finished(row.order, row.what)
        if row.handed_on == "last":
            return last, seen
        workdir = last.with_name(f"{last.name}-best")
        kept = "*" if row.order == "sft,grpo" else "grpo*"
        for path in (last / "checkpoints").glob(kept):
            shutil.copytree(path, workdir / "checkpoints" / path.name)
        seen = self.run(self.config(row.order, row.what, best=True), workdir)
        assert seen["read"] == ([] if row.order == "sft,grpo" else ["sft"])
        return workdir, seen

    def policies(self, row, workdir):
        """The decoders that all policies amount to, by name, from the checkpoints alone."""
        decoders, found = {"base": {"decoder": self.params}}, {"base": self.base}
        for stage, below in zip(row.order.split(","), row.below, strict=True):
            for name in (f"{stage} 2 last", f"{stage} 1 best"):
                _, number, kind = name.split()
                path = workdir / "checkpoints" / (stage + "_best" * (kind == "best")) / number
                if path.exists():
                    trained = export.restore_trained(path, self.mesh)
                    decoder = decoders[below] if below != "-" else {"decoder": trained}
                    decoders[name] = decoder
                    found[name] = effective(decoder, None if below == "-" else trained)
        return found


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        yield Table(tmp_path_factory.mktemp("table"), patch)


def name_of(decoder, policies):
    """The one policy that a decoder is."""
    (name,) = [name for name, other in policies.items() if same(decoder, other)]
    return name


@pytest.mark.slow
@pytest.mark.parametrize("row", TABLE, ids=lambda row: "-".join(row[:3]).replace(",", "+"))
def test_the_policy_that_is_trained_evaluated_exported_and_resumed(table, row, tmp_path):
    workdir, seen = table.of(row)
    policies = table.policies(row, workdir)
    assert tuple(name_of(x, policies) for x in seen["starts"]) == row.starts
    assert tuple(name_of(x, policies) for x in seen["evaluated"]) == row.evaluated
    # before the first step there are the weights and, if trained, their two moments, nothing else
    what = dict(zip(row.order.split(","), row.what.split(","), strict=True))
    for stage, copies in seen["copies"].items():
        assert copies == {"lora": 1, "all": 3}[what[stage]]
    # the results name what they were measured on
    files = ["results_start", f"results_{row.order.split(',')[0]}", "results"]
    named = [json.loads((workdir / f"{file}.json").read_text())["policy"] for file in files]
    what["start"] = None
    for policy, name in zip(named, ("start 0 None", *row.evaluated[1:]), strict=True):
        assert f"{policy['stage']} {policy['step']} {policy['checkpoint']}" == name
        assert policy["what"] == what[policy["stage"]]
    # what is exported by default is what results.json was measured on
    files = export.export(workdir, "merged", tmp_path / "merged", "float32")
    exported = weights.load(table.backbone, tmp_path / "merged", table.like["params"])
    assert same(effective(exported), policies[row.evaluated[-1]])
    said = json.loads((tmp_path / "merged" / "export.json").read_text())
    assert f"{said['stage']} {said['step']} {said['checkpoint']}" == row.evaluated[-1]
    if row.peft == "base":
        export.export(workdir, "peft", tmp_path / "peft")
        names, like = weights.table(table.backbone), table.like["lora"]
        lora = hf.load_adapter(names, tmp_path / "peft", like, alpha=tiny.LORA.alpha)
        assert same(effective({"decoder": table.params}, lora), policies[row.evaluated[-1]])
    else:
        refused = {"refused": "belongs to the decoder that stage", "-": "it has no adapter"}
        with pytest.raises(ValueError, match=refused[row.peft]):
            export.export(workdir, "peft", tmp_path / "peft")
    if row.handed_on == "best":
        return
    # a restart reads no data and has the same weights
    again = table.run(table.config(row.order, row.what), workdir)
    assert again["read"] == []
    jax.tree.map(np.testing.assert_array_equal, again["exact"][-1], seen["exact"][-1])
    assert tuple(name_of(x, policies) for x in again["starts"]) == row.starts


@pytest.mark.slow
@pytest.mark.parametrize(("order", "what"), sorted({row[:2] for row in TABLE}))
def test_a_run_stopped_in_its_second_stage_ends_with_the_same_weights(table, order, what, tmp_path):
    _, seen = table.finished(order, what)
    c, calls = table.config(order, what), []
    with pytest.raises(Preempted, match=rf"{order.split(',')[1]} is saved after 1 of \d+ steps"):
        # called before four stages, by two evaluations, by two steps, and by this one
        table.run(c, tmp_path / "run", lambda: calls.append(0) or len(calls) == 9)
    resumed = table.run(c, tmp_path / "run")
    assert resumed["read"] == [order.split(",")[1]]
    jax.tree.map(np.testing.assert_array_equal, resumed["exact"][-1], seen["exact"][-1])
