"""GRPO: questions, groups of sampled chains, rewards, updates.

One step, from question to update:

    host    stream -> rendered prompts of N questions
    ------- put --------------------------------------------------------------- crossing 1
    device  prepare, prefill, sample: G chains a question
    ------- get (this process's rows) ----------------------------------------- crossing 2
    host    read; the reward workers begin
    device  reference log-probabilities, meanwhile
    host    rewards -> advantages
    ------- put --------------------------------------------------------------- crossing 3
    device  grpo_step, num_iterations times
    ------- device_get(metrics) ----------------------------------------------- crossing 4
    host    log, completions, checkpoint; every eval_steps the evaluation

Axes: N questions, G samples of each, B = N G rows, R rewards, T time.
Source: arXiv 2402.03300; names of options and metrics are TRL's.
"""

import math
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import rich.console
from jax.sharding import Mesh

from mmcot_jax import data, hosts
from mmcot_jax import mesh as meshes
from mmcot_jax.ckpt import Checkpoints
from mmcot_jax.example import Example, Reply, Row
from mmcot_jax.hosts import Preempted, never_preempted
from mmcot_jax.log import Log
from mmcot_jax.rewards import resolve
from mmcot_jax.rewards.pool import PendingRewards, Pool, check_rewards
from mmcot_jax.rollout.generate import Generations, Generator
from mmcot_jax.sample import distribution
from mmcot_jax.train import objective as objectives
from mmcot_jax.train import step as steps
from mmcot_jax.train.preflight import group, outlook
from mmcot_jax.train.step_log import Record
from mmcot_jax.types import Backbone, Experience, Rollout, TrainState, Variables, row_axes

STAGE = "grpo"
Assess = Callable[[Variables], dict[str, float]]
"""What the policy is worth on questions it does not train on, by metric."""


def check(
    c: Mapping[str, Any],
    mesh: Mesh,
    metrics: Sequence[str] = (),
    rollout_mesh: Mesh | None = None,
) -> None:
    """What can be seen to be wrong before a weight is read; `metrics` are those `Assess` gives.

    Raises:
        ValueError: numbers that do not fit one another, an unknown option or reward.
    """
    n, g = c["prompts_per_step"], c["num_generations"]
    if g < 2:
        raise ValueError(
            f"grpo.num_generations is {g}; a sample is compared with others of its question, "
            "so give at least 2"
        )
    meshes.check_rows("grpo.prompts_per_step", n, rollout_mesh or mesh, c["rollout_micro_batches"])
    meshes.check_rows(
        f"grpo.prompts_per_step x grpo.num_generations ({n} x {g})",
        n * g,
        mesh,
        c["gradient_accumulation_steps"],
    )
    if c["num_iterations"] < 1:
        raise ValueError(f"grpo.num_iterations is {c['num_iterations']}; give 1 or more")
    if c["kl_steps"] and c["beta"]:
        raise ValueError(
            f"grpo.kl_steps is {c['kl_steps']} and beta is {c['beta']}: with a beta the "
            "divergence is computed in every step; set kl_steps to 0"
        )
    best = c["metric_for_best_model"]
    if c["load_best_model_at_end"] and not (c["eval_steps"] and best):
        raise ValueError(
            "grpo.load_best_model_at_end asks for the best by an evaluation, and "
            f"eval_steps is {c['eval_steps']}, metric_for_best_model {best!r}; give both"
        )
    if best and metrics and best not in metrics:
        raise ValueError(
            f"grpo.metric_for_best_model is {best!r}; the evaluation gives {', '.join(metrics)}"
        )
    check_rewards(
        c["reward_funcs"], c["reward_weights"], c["reward_timeout"], c["reward_processes"]
    )
    make_objective(c)


def make_objective(c: Mapping[str, Any]) -> objectives.Objective:
    """The objective a config describes.

    Raises:
        ValueError: as `objective.check`.
    """
    fields = {name: c[name] for name in objectives.Objective._fields if name in c}
    return objectives.check(objectives.Objective(**fields))


def scoring(backbone: Backbone, c: Mapping[str, Any]) -> dict[str, Any]:
    """What does not change of how rollouts are scored again, in updates and beside them."""
    return dict(
        backbone=backbone,
        sampling=distribution.sampling(c, STAGE),
        micro_batches=c["gradient_accumulation_steps"],
        chunk=c["logps_chunk"],
    )


def run(
    backbone: Backbone,
    variables: Variables,
    examples: Sequence[Example],
    c: Mapping[str, Any],
    *,
    mesh: Mesh,
    key: jax.Array,
    seed: int,
    workdir: pathlib.Path,
    assess: Assess | None = None,
    rollout_mesh: Mesh | None = None,
    rollout_keep: bool | None = None,
    preempted: Callable[[], bool] = never_preempted,
) -> Variables:
    """Trains on rewards as `config.grpo` says; returns the variables with what was learned.

    Resumes from the last checkpoint in `workdir`. `variables`, laid out on `mesh`, is given away.
    Chains are sampled on `rollout_mesh`, another cut of the same devices: what is frozen is laid
    out there once and kept in both places, or without `rollout_keep` moved to and fro (None: as
    the devices' memory says, `mesh.keep_both_layouts`); what is trained follows every step.
    `preempted` is called after every step; True saves and stops.

    Raises:
        Preempted: it was.
        ValueError: a prompt longer than the model's context, a batch that does not divide, groups
            that all agree before the first step, a reward that never works, a loss that is not
            finite.
    """
    rollout_mesh = rollout_mesh or mesh
    check(c, mesh, rollout_mesh=rollout_mesh)
    trainer = _Trainer(
        backbone,
        variables,
        examples,
        c,
        mesh=mesh,
        rollout_mesh=rollout_mesh,
        rollout_keep=rollout_keep,
        key=key,
        workdir=workdir,
    )
    del variables
    open_stream = partial(
        data.stream,
        trainer.questions,
        c["prompts_per_step"],
        seed=seed,
        mine=meshes.rows(rollout_mesh, c["prompts_per_step"]),
    )
    stream = open_stream()
    total = c["max_steps"] or math.ceil(c["num_train_epochs"] * stream.epoch_steps)
    trainer.begin(total)
    best = -math.inf
    folder = workdir / "checkpoints"
    with (
        Checkpoints(folder / STAGE, keep=c["save_total_limit"]) as checkpoints,
        Checkpoints(folder / f"{STAGE}_best", keep=1) as kept,
        trainer.rewards,
    ):
        first = 0
        if restored := checkpoints.restore(trainer.like):
            trainer.state, place = restored
            stream.set_state(place["stream"])
            first, best = place["step"], place["best"] if place["best"] is not None else best
        accuracy = f"rewards/{c['reward_funcs'][0]}/mean"
        shown = ("reward", accuracy, "completions/mean_length", "tokens_per_second/rollout")
        with Log(
            workdir, STAGE, total, start=first, shown=shown, process_index=jax.process_index()
        ) as log:
            if first == 0 and c["preflight"]:
                trainer.look_ahead(next(open_stream()))
            for number in range(first, total):
                last = number + 1 == total
                metrics = trainer.step(number, next(stream))
                if assess and c["eval_steps"] and (last or (number + 1) % c["eval_steps"] == 0):
                    began = time.monotonic()
                    found = assess(trainer.policy)
                    metrics |= {f"eval_{name}": value for name, value in found.items()}
                    metrics["time/eval"] = time.monotonic() - began
                    worth = found.get(c["metric_for_best_model"], -math.inf)
                    if worth > best:
                        best = worth
                        kept.save(number + 1, trainer.state, {"step": number + 1, "best": best})
                if last or (number + 1) % c["logging_steps"] == 0 or "time/eval" in metrics:
                    log.write(number, metrics)
                log.advance(number)
                stop = preempted()
                if last or stop or (number + 1) % c["save_steps"] == 0:
                    place = {"stream": stream.get_state(), "step": number + 1}
                    place["best"] = best if math.isfinite(best) else None
                    checkpoints.save(number + 1, trainer.state, place)
                if stop:
                    raise Preempted(f"{STAGE} is saved after step {number}")
        if c["load_best_model_at_end"] and (restored := kept.restore(trainer.like)):
            trainer.state = restored.state
    return trainer.variables


class _Trainer:
    """One policy on its way: what does not change bound, and the state that does."""

    def __init__(
        self, backbone, variables, examples, c, *, mesh, rollout_mesh, rollout_keep, key, workdir
    ):
        self._backbone, self._c, self._mesh, self._key = backbone, c, mesh, key
        self._rollout_mesh = rollout_mesh
        rows = data.Rendered(examples, backbone.renderer.prompt)
        self._check_room(rows)
        self.questions = _Questions(rows)
        self._widths = data.choose_buckets(
            rows.lengths, backbone.context, c["prompt_buckets"], c["length_multiple"]
        )
        self._slots = data.choose_slots(rows.slots, c["prompt_buckets"])
        self._image_shape = rows.image_shape
        self._generator = Generator(
            backbone,
            rollout_mesh,
            distribution.sampling(c, STAGE),
            length=c["max_completion_length"],
            num_generations=c["num_generations"],
            micro_batches=c["rollout_micro_batches"],
        )
        self._objective, self._scoring = make_objective(c), scoring(backbone, c)
        self._grammar = meshes.replicate(backbone.grammar, mesh)
        self.rewards = Pool(
            c["reward_funcs"],
            c["reward_weights"],
            timeout_s=c["reward_timeout"],
            processes=c["reward_processes"],
            chat=c["chat"],
        )
        self._looked_at = any(resolve(name).needs_images for name in c["reward_funcs"])
        self._record = Record(STAGE, backbone, c, rollout_mesh, workdir)
        self._trained, frozen = steps.split(variables, c["what"])
        memory = meshes.device_memory(mesh)
        both = meshes.keep_both_layouts(rollout_keep, frozen, mesh, rollout_mesh, memory)
        self._frozen = meshes.ReshardedWeights(frozen, mesh, keep=both)
        copy = jax.jit(partial(jax.tree.map, jnp.copy))
        # of adapters megabytes; where all is trained, the model once more
        self._reference = copy(self._trained) if c["beta"] or c["kl_steps"] else None

    def _check_room(self, rows: data.Rendered) -> None:
        room = self._backbone.context - self._c["max_completion_length"]
        longest = int(rows.lengths.argmax())
        if rows.lengths[longest] > room:
            raise ValueError(
                f"record {rows[longest].id!r} has a prompt of {rows.lengths[longest]} tokens; the "
                f"model's context of {self._backbone.context} less grpo.max_completion_length "
                f"{self._c['max_completion_length']} leaves {room}: shorten it, or lower that"
            )

    def begin(self, total: int) -> None:
        """Step 0 of `total` steps of num_iterations updates each."""
        self._schedule = steps.schedule(self._c, total * self._c["num_iterations"])
        self._optimizer = steps.optimizer(self._c, total * self._c["num_iterations"])
        begin = partial(steps.start, optimizer=self._optimizer)
        self.like = meshes.shapes(jax.eval_shape(begin, self._trained), self._mesh)
        places = jax.tree.map(lambda x: x.sharding, self.like)
        self.state: TrainState = jax.jit(begin, out_shardings=places)(self._trained)
        del self._trained

    @property
    def variables(self) -> Variables:
        """The policy as it is, laid out for training."""
        return steps.join(self.state.trained, self._frozen.on(self._mesh), self._c["what"])

    @property
    def policy(self) -> Variables:
        """The policy as it is, laid out for sampling."""
        trained = meshes.move(self.state.trained, self._rollout_mesh)
        return steps.join(trained, self._frozen.on(self._rollout_mesh), self._c["what"])

    def step(self, number: int, items: Sequence[tuple[Example, Row]]) -> dict[str, float]:
        """One rollout and the updates it is good for."""
        clock = _Clock()
        key = jax.random.fold_in(self._key, number)
        asked = self._ask(items, key)
        clock.stop("rollout")
        waiting = self._submit(items, asked, number)
        rollout = self._trim(asked)
        old, ref = self._given_logps(rollout, number)
        scored = waiting.result()
        clock.stop("reward")
        faults = self._record.failures(number, items, scored)
        groups = group(scored.values, self._c, self._rollout_mesh)
        advantage = meshes.put(groups.advantage, self._rollout_mesh)
        advantage = meshes.move_rows(advantage, self._mesh, 0)
        experience = Experience(rollout, advantage, old, ref)
        for _ in range(self._c["num_iterations"]):
            metrics = self._update(experience)
        metrics = {name: float(value) for name, value in jax.device_get(metrics).items()}
        clock.stop("train")
        self._check_finite(number, metrics)
        if self._record.keeps(number):
            replies = self._painted(asked)
            self._record.chains(number, items, asked._replace(replies=replies), scored, groups)
        rate = self._schedule(number * self._c["num_iterations"])
        metrics |= groups.metrics | faults | {"learning_rate": float(rate)}
        return metrics | self._record.report(asked, scored, clock.times)

    def _ask(self, items: Sequence[tuple[Example, Row]], key: jax.Array) -> Generations:
        examples_rows = [row for _, row in items]
        longest = meshes.all_reduce_max(max(len(row.tokens) for row in examples_rows))
        width = data.bucket(longest, self._widths, examples_rows[0].id)
        most = meshes.all_reduce_max(max(map(data.image_slots, examples_rows)))
        numbers = meshes.rows(self._rollout_mesh, self._c["prompts_per_step"])
        return self._generator(
            self.policy,
            examples_rows,
            width,
            key,
            numbers,
            image_slots=next(slots for slots in self._slots if slots >= most),
            image_shape=self._image_shape,
        )

    def _submit(
        self, items: Sequence[tuple[Example, Row]], asked: Generations, number: int
    ) -> PendingRewards:
        """Rewards begin, with what pictures show only where one of them looks."""
        replies = self._painted(asked) if self._looked_at else asked.replies
        examples = [example for example, _ in items for _ in range(self._c["num_generations"])]
        return self.rewards.submit(examples, replies, asked.ids, number)

    def _painted(self, asked: Generations) -> list[Reply]:
        return self._generator.decode_images(
            self.policy, asked.replies, self._c["prompts_per_step"]
        )

    def _trim(self, asked: Generations) -> Rollout:
        """Without the columns that no row reached, up to a multiple: few shapes, less work."""
        multiple, most = self._c["length_multiple"], self._c["max_completion_length"]
        length = min(
            -(-meshes.all_reduce_max(int(asked.tokens.max())) // multiple) * multiple, most
        )
        with meshes.no_implicit_transfers(self._rollout_mesh):
            rollout = _first_columns(asked.rollout, length)
        return meshes.move_rows(rollout, self._mesh, row_axes(rollout))

    def _given_logps(self, rollout: Rollout, number: int):
        """Of the policy that sampled, where it will have changed; of the reference, if asked."""
        c, every = self._c, self._c["kl_steps"]
        old = self._logps(self.variables, rollout) if c["num_iterations"] > 1 else None
        if not (c["beta"] or (every and number % every == 0)):
            return old, None
        reference = steps.join(self._reference, self._frozen.on(self._mesh), c["what"])
        return old, self._logps(reference, rollout)

    def _logps(self, variables: Variables, rollout: Rollout):
        with meshes.no_implicit_transfers(self._mesh):
            return steps.rollout_logps(variables, rollout, self._grammar, **self._scoring)

    def _update(self, experience: Experience) -> dict[str, jax.Array]:
        with meshes.no_implicit_transfers(self._mesh):
            self.state, metrics = steps.grpo_step(
                self.state,
                self._frozen.on(self._mesh),
                experience,
                self._grammar,
                optimizer=self._optimizer,
                what=self._c["what"],
                objective=self._objective,
                **self._scoring,
            )
        return metrics

    def _check_finite(self, number: int, metrics: Mapping[str, float]) -> None:
        bad = [name for name in ("loss", "grad_norm") if not math.isfinite(metrics[name])]
        if bad:
            raise ValueError(
                f"grpo step {number}: {' and '.join(f'{n} is {metrics[n]}' for n in bad)}; "
                "nothing of this step was saved. Lower grpo.learning_rate or grpo.max_grad_norm"
            )

    def look_ahead(self, items: Sequence[tuple[Example, Row]]) -> None:
        """Samples one step's groups and says whether there is something to learn.

        Raises:
            ValueError: every group's rewards are equal, so no step would change anything.
        """
        c, mesh = self._c, self._rollout_mesh
        asked = self._ask(items, jax.random.fold_in(self._key, np.uint32(2**32 - 1)))
        scored = self._submit(items, asked, 0).result()
        prompts = np.array([(len(row.tokens), row.image_count) for _, row in items])
        prompt_tokens, prompt_images = meshes.gather(prompts, mesh).T
        pictures = [len(reply.pictures) for reply in asked.replies]
        chains = np.array([asked.tokens, asked.ended, pictures]).T
        completion_tokens, ended, pictures = meshes.gather(chains, mesh).T
        seen = outlook(
            group(scored.values, c, mesh),
            c,
            devices=self._mesh.shape["data"] * self._mesh.shape["fsdp"],
            prompt_tokens=prompt_tokens,
            prompt_images=prompt_images,
            image_tokens=int(self._backbone.grammar.image_len),
            completion_tokens=completion_tokens,
            ended=ended,
            pictures=pictures,
        )
        if hosts.first():
            console = rich.console.Console(stderr=True)
            for line in seen.lines:
                console.print(f"{STAGE}: {line}", highlight=False, markup=False, soft_wrap=True)
        if seen.equal == seen.groups:
            raise ValueError(
                f"nothing to learn from: in all {seen.groups} groups sampled before the first "
                f"step the rewards are equal ({seen.right} all right, {seen.wrong} all wrong). "
                "Take harder or easier questions, a higher temperature, more num_generations or "
                "a longer sft stage; grpo.preflight=false starts all the same"
            )


class _Questions(Sequence[tuple[Example, Row]]):
    """Questions with their rendered prompts, read and rendered when they are asked."""

    def __init__(self, rows: data.Rendered):
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Example, Row]:
        return self._rows.pair(index)


class _Clock:
    """Seconds between its stops, by name."""

    def __init__(self):
        self.times: dict[str, float] = {}
        self._since = time.monotonic()

    def stop(self, name: str) -> None:
        now = time.monotonic()
        self.times[name], self._since = now - self._since, now


@partial(jax.jit, static_argnames=("length",))
def _first_columns(rollout: Rollout, length: int) -> Rollout:
    cut = jax.tree.map(lambda x: x[:, :length], rollout._replace(prompt=None))
    return cut._replace(prompt=rollout.prompt)
