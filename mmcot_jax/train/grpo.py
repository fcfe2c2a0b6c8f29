"""GRPO: prompts, groups of sampled completions, rewards, updates.

One step, from prompt to update:

    host    stream -> questions: N examples with their rendered prompts
    ------- put --------------------------------------------------------------- crossing 1
    device  prepare, prefill, sample: G completions per prompt
    ------- get (this process's rows) ----------------------------------------- crossing 2
    host    read replies; on the device decode their images, if needed; reward workers start
    device  reference log-probabilities meanwhile
    host    rewards -> advantages
    ------- put --------------------------------------------------------------- crossing 3
    device  grpo_step, num_iterations times; micro-batches without a gradient are left out
    ------- device_get(metrics) ----------------------------------------------- crossing 4
    host    completions; the loop logs, evaluates and saves

With `dynamic_sampling` all above "reference" repeats until N groups are informative.

Axes: N prompts, G samples per prompt, B = N G rows, R rewards, T time.
Source: arXiv 2402.03300; names of options and metrics are TRL's.
"""

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import rich.console
from jax.sharding import Mesh
from jaxtyping import PyTree

from mmcot_jax import data, hosts
from mmcot_jax import mesh as meshes
from mmcot_jax.example import Question, Reply
from mmcot_jax.hosts import never_preempted
from mmcot_jax.rewards import fields_read, pool, short_names
from mmcot_jax.rewards.results import RewardResult
from mmcot_jax.rollout.generate import Generations, Generator, PromptShapes, sample_numbers
from mmcot_jax.sample.sampler import SampleStatic
from mmcot_jax.train import loop, optim
from mmcot_jax.train import step as steps
from mmcot_jax.train.dynamic_sampling import Sampled, fill
from mmcot_jax.train.experience import trim, with_advantage
from mmcot_jax.train.groups import Groups, compare, gather_groups, group
from mmcot_jax.train.policy import Policy
from mmcot_jax.train.preflight import preflight
from mmcot_jax.train.process_rewards import in_tokens, stack
from mmcot_jax.train.step_log import Clock, StepLog
from mmcot_jax.types import Backbone, Experience, Grammar, Rollout, TrainState, Variables

STAGE = "grpo"
SHOWN = ("completions/mean_length", "tokens_per_second/rollout")
"""Metrics beside the progress bar, after those of the rewards."""
Assess = Callable[[Variables], dict[str, float]]
"""Evaluates a policy on held-out questions: metrics by name."""


class Questions(NamedTuple):
    """The data of the stage."""

    rows: data.Rendered
    """Prompts that `checks.check_room` accepts."""
    assess: Assess | None = None
    """Called every `eval_steps` steps, if given."""


class _Run(NamedTuple):
    """The constants of a run."""

    c: Mapping[str, Any]
    key: jax.Array
    schedule: optax.Schedule
    static: steps.GrpoStatic
    grammar: Grammar
    policy: Policy
    reference: PyTree | None
    """A copy of the trained weights as the stage began, if the loss or a metric needs it."""
    generator: Generator
    stream: data.Stream
    """The questions; a step with `dynamic_sampling` may draw several batches."""
    rewards: pool.Pool
    log: StepLog


def run(
    backbone: Backbone,
    variables: Variables,
    read: Callable[[], Questions],
    c: Mapping[str, Any],
    *,
    mesh: Mesh,
    key: jax.Array,
    seed: int,
    workdir: pathlib.Path,
    start: loop.Snapshot = loop.START,
    rollout_mesh: Mesh | None = None,
    rollout_keep: bool | None = None,
    preempted: Callable[[], bool] = never_preempted,
) -> loop.Trained:
    """Trains on rewards as the config's group `grpo` describes; returns the trained variables.

    `c` is one that `checks.check_grpo` accepts. `read()` returns the questions; it is not called if
    a checkpoint completes the stage. `variables` are those of `start` and lie on `mesh`; the
    trained ones among them are donated. Completions are sampled on `rollout_mesh`, the same
    devices in another shape: frozen weights are kept in both layouts, or resharded before each
    phase if `rollout_keep` is false (None: `mesh.keep_both_layouts` decides); trained weights are
    resharded in every step. Resumes from the last checkpoint in `workdir`. `preempted` is called
    after every step; True saves and stops.

    Raises:
        Preempted: `preempted()` returned True.
        ValueError: no informative group before the first step, a reward that always fails, a loss
            that is not finite.
    """
    rollout_mesh = rollout_mesh or mesh
    trained, frozen = optim.split(variables, c["what"])
    del variables
    policy = Policy.of(frozen, c["what"], mesh, rollout_mesh, rollout_keep)

    given = backbone, read, policy, trained, c
    open_stage = partial(_open, *given, key=key, seed=seed, workdir=workdir)
    stage = loop.Stage(STAGE, c, optim.optimizer(c, 1), open_stage, start)
    found, snapshot = loop.run(stage, trained, mesh=mesh, workdir=workdir, preempted=preempted)
    return loop.Trained(policy.for_training(found), snapshot)


@contextlib.contextmanager
def _open(
    backbone: Backbone,
    read: Callable[[], Questions],
    policy: Policy,
    trained: PyTree,
    c: Mapping[str, Any],
    *,
    key: jax.Array,
    seed: int,
    workdir: pathlib.Path,
) -> Iterator[loop.Work]:
    """Reads the questions and starts the reward workers."""
    rows, assess = read()
    open_stream = partial(
        data.stream,
        data.Questions(rows),
        c["prompts_per_step"],
        seed=seed,
        mine=meshes.rows(policy.rollout_mesh, c["prompts_per_step"]),
    )
    stream = open_stream()
    total = loop.total_steps(c, stream.epoch_steps)
    updates = total * c["num_iterations"]
    static, schedule = steps.GrpoStatic.of(backbone, c, updates), optim.schedule(c, updates)
    # a copy of the adapters is megabytes; with what=all it is another decoder
    copy = jax.jit(partial(jax.tree.map, jnp.copy))
    reference = copy(trained) if c["beta"] or c["kl_steps"] else None
    generator = Generator(
        backbone,
        policy.rollout_mesh,
        PromptShapes.of(rows, backbone.context, c["prompt_buckets"], c["length_multiple"]),
        SampleStatic.of(c, STAGE),
    )
    with _reward_pool(c, total, stream.epoch_steps) as rewards:
        log = StepLog(STAGE, backbone, c, policy.rollout_mesh, workdir)
        grammar = meshes.replicate(backbone.grammar, policy.mesh)
        made = static, grammar, policy, reference, generator, stream, rewards, log
        run = _Run(c, key, schedule, *made)

        def evaluate(state: TrainState) -> dict[str, float]:
            return assess(policy.for_sampling(state.trained))

        def sample_first(state: TrainState) -> None:
            _preflight(run, state, next(open_stream()))

        yield loop.Work(
            partial(_step, run),
            stream,
            total,
            evaluate=evaluate if assess and c["eval_steps"] else None,
            preflight=sample_first if c["preflight"] else None,
            shown=("reward", f"rewards/{short_names(c['reward_funcs'])[0]}/mean", *SHOWN),
        )


def _reward_pool(c: Mapping[str, Any], max_steps: int, epoch_steps: int) -> pool.Pool:
    return pool.Pool(
        c["reward_funcs"],
        c["reward_weights"],
        timeout_s=c["reward_timeout"],
        processes=c["reward_processes"],
        chat=c["chat"],
        max_steps=max_steps,
        epoch_steps=epoch_steps,
    )


def _step(
    run: _Run, state: TrainState, number: int, questions: list[Question]
) -> tuple[TrainState, dict[str, float]]:
    """One rollout and its updates: the figure at the head of this file."""
    clock, mesh = Clock(), run.policy.rollout_mesh
    sampled = _sample(run, state, number, questions, clock)
    if run.c["dynamic_sampling"]:
        sampled = _sample_on(run, state, number, sampled, clock)
    generations, replies = sampled.generations, sampled.replies
    ones = np.ones((run.c["prompts_per_step"], run.c["num_generations"]), bool)
    trained = sampled.rows(ones, False, mesh)
    longest = int(generations.tokens[trained].max(initial=1))
    rollout = trim(generations.rollout, longest, run.c, run.policy)
    logps = _logps(run, state, rollout, number)
    result = sampled.rewards()
    clock.stop("reward")
    failures = run.log.save_failures(number, sampled.questions, result)
    groups = _groups(run, sampled, result)
    experience = with_advantage(rollout, groups, logps, run.static, run.policy.mesh)
    del rollout, logps  # `experience` may have copies of them
    state, metrics = _update(run, state, experience)
    clock.stop("train")
    if run.log.should_save(number):
        given = groups.advantage, groups.image_advantage
        given = *(x if x is None else x.reshape(ones.shape) for x in given), groups.parts
        given = [x if x is None else sampled.rows(x, np.nan, mesh) for x in given]
        run.log.save_completions(number, sampled.questions, generations, replies, result, *given)
    metrics |= groups.metrics | failures | {"learning_rate": _learning_rate(run, number)}
    metrics |= run.log.metrics(generations, replies, result, clock.seconds, trained)
    return state, metrics | run.log.logged(result, metrics)


def _sample(
    run: _Run,
    state: TrainState,
    number: int,
    questions: list[Question],
    clock: Clock,
    batch: int = 0,
) -> Sampled:
    """Samples a batch of a step, and starts to score it."""
    key = jax.random.fold_in(run.key, number)
    variables = run.policy.for_sampling(state.trained)
    generations = _generate(run, variables, questions, key, batch)
    clock.stop("rollout")
    save = run.log.should_save(number)
    questions, replies = _decode_for_rewards(
        run, variables, questions, generations, key, batch, save
    )
    clock.stop("paint")
    rewards = _submit_rewards(run, questions, generations, replies, number)
    kept = np.arange(run.c["prompts_per_step"])
    return Sampled(questions, generations, replies, rewards, kept)


def _sample_on(run: _Run, state: TrainState, number: int, first: Sampled, clock: Clock) -> Sampled:
    """Samples further batches of a step, if the first has groups that are not informative."""
    mesh = run.policy.rollout_mesh

    def sample(batch: int) -> Sampled:
        return _sample(run, state, number, next(run.stream), clock, batch)

    def informative(result: RewardResult) -> np.ndarray:
        clock.stop("reward")
        return group(result.values, run.c, mesh, stack(result, run.c)).informative

    return fill(first, sample, informative, run.c["max_num_gen_batches"], mesh)


def _groups(run: _Run, sampled: Sampled, result: RewardResult) -> Groups:
    """The groups that are trained on; metrics are those of all that were sampled."""
    given = [x for x in (result.values, stack(result, run.c)) if x is not None]
    batches = zip(*(np.split(x, sampled.batches) for x in given), strict=True)
    each = [gather_groups(batch, run.c, run.policy.rollout_mesh) for batch in batches]
    every = [np.concatenate(x) for x in zip(*each, strict=True)]
    groups = compare(run.c, *every)
    if sampled.batches > 1:
        kept = compare(run.c, *(x[sampled.kept] for x in every))
        groups = kept._replace(metrics=groups.metrics)
    if run.c["dynamic_sampling"]:
        groups.metrics.update(
            {
                "dynamic_sampling/num_gen_batches": float(sampled.batches),
                "dynamic_sampling/sampled_groups": float(len(every[0])),
                "dynamic_sampling/kept_groups": float(groups.informative.sum()),
            }
        )
    return groups


def _generate(
    run: _Run, variables: Variables, questions: Sequence[Question], key: jax.Array, batch: int = 0
) -> Generations:
    """Samples G completions per prompt; the prompts of a step's further batches count on."""
    n = run.c["prompts_per_step"]
    numbers = batch * n + meshes.rows(run.policy.rollout_mesh, n)
    return run.generator(variables, [question.row for question in questions], numbers, key)


def _decode_for_rewards(
    run: _Run,
    variables: Variables,
    questions: list[Question],
    generations: Generations,
    key: jax.Array,
    batch: int = 0,
    save: bool = False,
) -> tuple[list[Question], list[Reply]]:
    """Computes what the rewards read of pictures and scenes, and the pixels if they are saved."""
    n = run.c["prompts_per_step"]
    numbers = batch * n + meshes.rows(run.policy.rollout_mesh, n)
    # a reward that names no fields reads those that there are
    fields = fields_read(run.c["reward_funcs"]) & {*run.static.backbone.image_outputs}
    replies = run.generator.decode_images(
        variables,
        generations.replies,
        n,
        key=key,
        numbers=sample_numbers(numbers, run.c["num_generations"]),
        fields=fields | ({"pixels"} if save else set()),
    )
    if "clip" in fields:
        questions = run.generator.add_scenes(variables, questions)
    return questions, replies


def _submit_rewards(
    run: _Run,
    questions: Sequence[Question],
    generations: Generations,
    replies: Sequence[Reply],
    number: int,
) -> Callable[[], RewardResult]:
    """Starts the reward workers and returns at once; the function waits for the rewards."""
    g = run.c["num_generations"]
    examples = [question.example for question in questions for _ in range(g)]
    pending = run.rewards.submit(examples, replies, generations.ids, number, group_size=g)
    read = run.static.backbone.renderer.read
    return lambda: in_tokens(pending.result(), run.c, generations.ids, read)


def _logps(run: _Run, state: TrainState, rollout: Rollout, number: int):
    """Log-probabilities of the policy, if it will change, and of the reference, if it is used."""
    c, every = run.c, run.c["kl_steps"]

    def score(trained: PyTree) -> jax.Array:
        variables = run.policy.for_training(trained)
        with meshes.no_implicit_transfers(run.policy.mesh):
            return steps.rollout_logps(variables, rollout, run.grammar, run.static)

    old = score(state.trained) if c["num_iterations"] > 1 else None
    compared = c["beta"] or (every and number % every == 0)
    return old, score(run.reference) if compared else None


def _update(
    run: _Run, state: TrainState, experience: Experience
) -> tuple[TrainState, dict[str, float]]:
    """Makes `num_iterations` updates; each metric is its mean over them, as in TRL."""
    each = []
    with meshes.no_implicit_transfers(run.policy.mesh):
        for _ in range(run.c["num_iterations"]):
            frozen = run.policy.frozen.on(run.policy.mesh)
            state, metrics = steps.grpo_step(state, frozen, experience, run.grammar, run.static)
            each.append(metrics)
    read = jax.device_get(each)
    return state, {name: float(np.mean([float(m[name]) for m in read])) for name in read[0]}


def _learning_rate(run: _Run, number: int) -> float:
    """The mean learning rate of a step's updates."""
    count = run.c["num_iterations"]
    rates = [float(run.schedule(number * count + update)) for update in range(count)]
    return sum(rates) / count


def _preflight(run: _Run, state: TrainState, questions: Sequence[Question]) -> None:
    """Samples and scores one step's groups, prints the counts; raises if nothing can be learned."""
    mesh = run.policy.mesh
    key = jax.random.fold_in(run.key, np.uint32(2**32 - 1))
    variables = run.policy.for_sampling(state.trained)
    generations = _generate(run, variables, questions, key)
    questions, replies = _decode_for_rewards(run, variables, questions, generations, key)
    result = _submit_rewards(run, questions, generations, replies, 0)()
    found = preflight(
        group(result.values, run.c, run.policy.rollout_mesh, stack(result, run.c)),
        run.c,
        [question.row for question in questions],
        generations,
        result,
        image_tokens=int(run.static.backbone.grammar.image_len),
        devices=mesh.shape["data"] * mesh.shape["fsdp"],
        mesh=run.policy.rollout_mesh,
    )
    if hosts.is_main_process():
        console = rich.console.Console(stderr=True)
        for line in found.lines:
            console.print(f"{STAGE}: {line}", highlight=False, markup=False, soft_wrap=True)
    found.check()
