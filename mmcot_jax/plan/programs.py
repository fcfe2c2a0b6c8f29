"""The jitted programs a config runs, with shapes in place of arrays: no weights, no memory.

Axes: B rows, N prompts, G samples of each, T time, M images or windows of images in a row.
"""

import itertools
import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree
from ml_collections import ConfigDict

from mmcot_jax import data, hub, models, rules, stages, tasks
from mmcot_jax import mesh as meshes
from mmcot_jax.example import Example
from mmcot_jax.rewards import fields_read
from mmcot_jax.rollout.generate import DECODED, image_decoders
from mmcot_jax.sample.sampler import (
    TOKENS_PER_CHECK,
    SampleStatic,
    row_counts,
    sample,
    windows,
)
from mmcot_jax.train import optim
from mmcot_jax.train import step as steps
from mmcot_jax.types import Backbone, Batch, Cache, Experience, Pixels, Variables, row_axes


class Program(NamedTuple):
    """A jitted function of a run with the shapes of its arguments."""

    name: str
    trace: Callable[[], jax.stages.Traced]
    mesh: Mesh
    live_bytes: float
    """Live bytes per device: arguments and residents, without outputs."""
    weight_reads: float = 1.0
    """Times it reads the decoder's weights, at least."""
    extra_bytes_read: float = 0.0
    """Bytes it reads besides the weights, per device, at least."""
    loop_steps: tuple[int, ...] = ()
    """Most iterations of each loop over tokens, in order; () if it decodes no tokens."""
    stage: str = ""
    """Of the config: sft, grpo or eval."""
    picture_calls: int = 0
    """Calls that decode one picture of each completion; 0 if it decodes no pictures."""


def build(model: Mapping[str, Any], *, learn: str, eos: bool) -> Backbone:
    """Builds the backbone; a tokenizer that is not on this machine is replaced by a packaged one.

    The tokenizer only determines the grammar, which is data: the programs are the same.

    Raises:
        ValueError: as the backbone's own `build`.
    """
    make = models.get(model["backbone"]).build
    name = model["tokenizer"] or model["weights"]
    if not name.startswith("packaged:") and not os.path.exists(name):
        # and a repository's weights are not downloaded for their config.json
        model = {**model, "tokenizer": "packaged:tiny_tokenizer.json", "weights": ""}
    painters = {name: model.get(name, "") for name in ("unclip_weights", "clip_weights")}
    # a path of the same name is no repository: nothing is downloaded
    model = {**model, **{name: f"./{x}" for name, x in painters.items() if hub.is_name(x)}}
    return make(model, learn=learn, eos=eos)


class Shapes:
    """Shapes of the arguments of a config's programs."""

    def __init__(self, c: ConfigDict, mesh: Mesh, rollout: Mesh, memory: float):
        self.c, self.mesh, self.rollout, self.memory = c, mesh, rollout, memory
        self.backbone = build(c.model.to_dict(), learn=c.sft.learn, eos=c.sft.eos)
        self._variables = jax.eval_shape(self.backbone.init, jax.random.key(0))

    def variables(self, mesh: Mesh) -> Variables:
        """Weights and adapters, sharded over a mesh."""
        return meshes.shapes(self._variables, mesh)

    def replicate(self, tree: PyTree, mesh: Mesh) -> PyTree:
        """The same values on every device."""
        sharding = NamedSharding(mesh, PartitionSpec())
        return jax.tree.map(partial(_shape, sharding=sharding), jax.eval_shape(lambda: tree))

    def rows(self, tree: PyTree, mesh: Mesh) -> PyTree:
        """Rows, split over the devices."""

        def shard(x, axis):
            spec = rules.spec("." * axis + "b", x.shape, mesh)
            return _shape(x, NamedSharding(mesh, spec))

        return jax.tree.map(shard, tree, row_axes(tree))

    def batch(self, mesh: Mesh, count: int, width: int, slots: int, side: str) -> Batch:
        """A batch as `data.pad` makes it."""
        image = np.zeros((64, 64, 3), np.uint8)
        # no words: the packaged tokenizer's letters may have ids of the full-size model's marks
        example = Example("shape", (image,) * bool(slots) + ("",), "")
        row = self.backbone.renderer.prompt(example)
        one = data.pad([row], max(width, len(row.tokens)), side, image_slots=slots)
        along_time = ("tokens", "positions", "valid", "loss", "source")

        def batch_shape(path, x, axis):
            size = list(x.shape)
            size[axis] = count
            if getattr(path[-1], "name", None) in along_time:
                size[-1] = width
            return jax.ShapeDtypeStruct(tuple(size), x.dtype)

        return self.rows(jax.tree_util.tree_map_with_path(batch_shape, one, row_axes(one)), mesh)

    def state(self, static, variables: Variables):
        """A stage's `TrainState` and frozen weights."""
        trained, frozen = optim.split(variables, static.what)
        begin = partial(steps.start, optimizer=static.optimizer)
        return meshes.shapes(jax.eval_shape(begin, trained), self.mesh), frozen


def programs(
    c: ConfigDict, mesh: Mesh, rollout: Mesh, memory: float = math.inf
) -> Iterator[Program]:
    """The programs of a config's stages, in order; `memory` is that of a device, in bytes."""
    shapes = Shapes(c, mesh, rollout, memory)
    for stage, planned in (("sft", _sft), ("grpo", _grpo), ("eval", _eval)):
        if stage in c.stages:
            for program in planned(shapes):
                yield program._replace(stage=stage)


def _sft(s: Shapes) -> Iterator[Program]:
    c, mesh, b = s.c.sft.to_dict(), s.mesh, s.backbone
    variables = s.variables(mesh)
    rows = s.batch(mesh, c["batch_size"], s.c.plan.row_tokens, s.c.plan.row_slots, "right")
    lazy = tasks.get(stages.task_name(s.c, s.c.data.train)).LAZY_IMAGES
    if isinstance(rows.pixels, Pixels) and not lazy:  # encoded before training
        images = rows.pixels.images
        images = jax.ShapeDtypeStruct((s.c.data.tokenize_batch, *images.shape[2:]), images.dtype)
        trace = partial(jax.jit(b.tokenize).trace, variables, s.rows(images, mesh))
        yield Program("tokenize", trace, mesh, meshes.bytes_per_device(variables))
        rows = rows._replace(pixels=None)
    static = steps.SftStatic.of(b, c, steps=1)
    state, frozen = s.state(static, variables)
    key = s.replicate(jax.random.key(0), mesh)
    grammar = s.replicate(b.grammar, mesh)
    given = (state, frozen, rows, grammar, key)
    trace = partial(steps.sft_step.trace, *given, static)
    reads, live_bytes = 3 * c["gradient_accumulation_steps"], meshes.bytes_per_device(given)
    yield Program("sft_step", trace, mesh, live_bytes, weight_reads=reads)


def _grpo(s: Shapes) -> Iterator[Program]:
    c, b, mesh = s.c.grpo.to_dict(), s.backbone, s.mesh
    n, g, length = c["prompts_per_step"], c["num_generations"], c["max_completion_length"]
    variables, grammar = s.variables(mesh), s.replicate(b.grammar, mesh)
    static = steps.GrpoStatic.of(b, c, steps=1)
    state, frozen = s.state(static, variables)
    reference = state.trained if c["beta"] or c["kl_steps"] else None
    residents = meshes.bytes_per_device((state, reference))
    residents += _frozen_copy(s, frozen, mesh)
    if s.rollout == mesh:  # sampling and training share the adapters
        residents -= meshes.bytes_per_device(state.trained)
    rolled = yield from _rollout(s, "", n, SampleStatic.of(c, "grpo"), residents)
    parts = c["gradient_accumulation_steps"]
    per_row = meshes.samples_per_row(n, g, mesh, parts)
    written = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), rolled)
    rollout = s.rows(jax.eval_shape(partial(steps.regroup, generations=per_row), written), mesh)
    rows = (n * g // per_row, per_row)
    floats = s.rows(jax.ShapeDtypeStruct((*rows, length), np.float32), mesh)
    advantage = s.rows(jax.ShapeDtypeStruct(rows, np.float32), mesh)
    old = floats if c["num_iterations"] > 1 else None
    image = advantage if c["image_reward_funcs"] else None
    process = floats if c["process_reward_funcs"] else None
    reference_logps = floats if reference else None
    experience = Experience(rollout, advantage, old, reference_logps, image, process)
    live_bytes = meshes.bytes_per_device((state, reference, frozen, experience)) + _frozen_copy(
        s, frozen, s.rollout
    )
    if reference or old:
        policy = optim.join(state.trained, frozen, c["what"])
        trace = partial(steps.rollout_logps.trace, policy, rollout, grammar, static)
        yield Program("rollout_logps", trace, mesh, live_bytes, weight_reads=parts)
    trace = partial(steps.grpo_step.trace, state, frozen, experience, grammar, static)
    yield Program("grpo_step", trace, mesh, live_bytes, weight_reads=3 * parts)
    fields = fields_read(c["reward_funcs"]) | ({"pixels"} if c["log_completions_steps"] else set())
    for program in _image_decoders(s, "", n, residents, fields):
        yield program._replace(picture_calls=g)


def _eval(s: Shapes) -> Iterator[Program]:
    c = s.c.eval.to_dict()
    n, residents = c["batch_size"], 0.0
    if "grpo" in s.c.stages and s.c.grpo.eval_steps:  # while it trains
        static = steps.GrpoStatic.of(s.backbone, s.c.grpo.to_dict(), steps=1)
        state, frozen = s.state(static, s.variables(s.mesh))
        residents = meshes.bytes_per_device(state) + _frozen_copy(s, frozen, s.mesh)
    yield from _rollout(s, "eval_", n, SampleStatic.of(c, "eval"), residents)
    yield from _image_decoders(s, "eval_", n, residents, DECODED)


def _bytes_of_slots(cache: Cache, mesh: Mesh) -> int:
    """Bytes of the keys and values on each device."""

    def one(x) -> int:
        spec = rules.spec(".bh"[5 - x.ndim :], x.shape, mesh)
        return math.prod(NamedSharding(mesh, spec).shard_shape(x.shape)) * x.dtype.itemsize

    return sum(map(one, jax.tree.leaves((cache.k, cache.v))))


def _rollout(s: Shapes, name: str, n: int, static: SampleStatic, residents: float):
    """Programs that prepare prompts and sample; returns the shapes of the rollout."""
    mesh, b, g, length = s.rollout, s.backbone, static.num_generations, static.length
    variables, grammar = s.variables(mesh), s.replicate(b.grammar, mesh)
    prompt = s.batch(mesh, n, s.c.plan.prompt_tokens, s.c.plan.prompt_slots, "left")
    residents += meshes.bytes_per_device(variables)
    if prompt.pixels is not None:
        trace = partial(jax.jit(b.prepare).trace, variables, prompt)
        yield Program(f"{name}prepare", trace, mesh, residents + meshes.bytes_per_device(prompt))
        prompt = s.rows(jax.eval_shape(b.prepare, variables, prompt), mesh)
    keys = s.rows(jax.eval_shape(lambda: jax.random.split(jax.random.key(0), n * g)), mesh)
    trace = partial(sample.trace, b, variables, grammar, prompt, keys, static, None)
    cache = jax.eval_shape(partial(b.init_cache, n * g, 1))
    slot_bytes = _bytes_of_slots(cache, mesh) / (n * g)
    # a token reads each prompt once, and its row's window, written or not
    steps = list(itertools.pairwise((0, *windows(length))))
    slots = sum((end - start) * (n * s.c.plan.prompt_tokens + n * g * end) for start, end in steps)
    # if no row ends early, the loops over fewer rows are never entered
    rows = n * g // static.micro_batches // rules.size(mesh, rules.ROWS)
    loop_steps = [(end - start) // TOKENS_PER_CHECK for start, end in steps]
    loop_steps += [0] * (len(row_counts(rows, length)) - 1)
    yield Program(
        f"{name}sample",
        trace,
        mesh,
        residents + meshes.bytes_per_device((prompt, keys)),
        weight_reads=(1 + length) * static.micro_batches,
        extra_bytes_read=slots * slot_bytes,
        loop_steps=tuple(loop_steps),
    )
    return jax.eval_shape(partial(sample, b, static=static), variables, grammar, prompt, keys)


def _image_decoders(
    s: Shapes, name: str, n: int, residents: float, fields: Collection[str]
) -> Iterator[Program]:
    """Programs that compute `fields` of `n` pictures at a time."""
    count = int(s.backbone.grammar.image_len)
    if not count:
        return
    variables = s.variables(s.rollout)
    live_bytes = residents + meshes.bytes_per_device(variables)
    rows = partial(s.rows, mesh=s.rollout)
    ids, places = (rows(jax.ShapeDtypeStruct((n, k), np.int32)) for k in (count, 2))
    decoders = image_decoders(s.backbone)
    given = {"embedding": (ids,)}
    if "pixels" in decoders:
        key = s.replicate(jax.eval_shape(lambda: jax.random.key(0)), s.rollout)
        given["pixels"] = ids, key, places
        painted = jax.eval_shape(decoders["pixels"], variables, *given["pixels"])
        given["clip"] = (rows(painted),)
    if "clip" in fields:
        fields = {*fields, "pixels"}
    for field, decode in decoders.items():
        if field in fields:
            trace = partial(decode.trace, variables, *given[field])
            yield Program(f"{name}{field}", trace, s.rollout, live_bytes)


def _frozen_copy(s: Shapes, frozen: PyTree, mesh: Mesh) -> float:
    """Bytes of the frozen weights on `mesh`, if they stay there while the other mesh is in use."""
    both = meshes.keep_both_layouts(s.c.rollout_keep, frozen, s.mesh, s.rollout, s.memory)
    return meshes.bytes_per_device(meshes.shapes(frozen, mesh)) if both else 0.0


def _shape(x: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding, weak_type=x.weak_type)
