"""Laws that every backbone keeps, on tiny random ones with images in their prompts.

A law compiles each program once: module-scoped fixtures hold the batches.
"""

import json
import pathlib
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny as tinies

from mmcot_jax import data, hf, models, rules, safetensors_io
from mmcot_jax import mesh as meshes
from mmcot_jax.example import Example
from mmcot_jax.sample.distribution import Sampling
from mmcot_jax.sample.sampler import SampleStatic, row_keys, sample
from mmcot_jax.train.logps import score_rollout
from mmcot_jax.train.step import regroup
from mmcot_jax.types import Backbone, Batch, Rollout, Variables

TOWERS = {"chameleon": "vqgan", "seed_llama": "seed", "qwen25vl": "vision"}
NUCLEUS = Sampling(temperature=0.7, top_p=0.9)
LENGTH = 16


@pytest.fixture(scope="module")
def mesh():
    return meshes.make(2, 2, 2)


def photo(h, w, seed):
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def rows(name, tiny):
    """Two images and text, one and text, text alone."""

    def words(text):
        return "".join(f"w{ord(x)} " for x in text.translate(_LETTERS)) if qwen else text

    qwen = name == "qwen25vl"
    two = (words("a"), photo(60, 90, 0), words("b"), photo(110, 56, 1), words("c"))
    prompts = (two, (photo(56, 56, 2), words("def")), (words("gh"),))
    return [tiny.backbone.renderer.prompt(Example(str(i), p, "")) for i, p in enumerate(prompts)]


_LETTERS = {ord(x): i for i, x in enumerate("abcdefgh", 4)}


def pad(rows, side="left") -> Batch:
    batch = data.pad(rows, max(len(row.tokens) for row in rows), side)
    return jax.tree.map(jnp.asarray, batch)


@pytest.fixture(scope="module")
def prepare(tiny):
    return jax.jit(tiny.backbone.prepare)


@pytest.fixture(scope="module")
def prompts(tiny, rows, prepare) -> Batch:
    """Left-padded, prepared; the first row has no padding."""
    batch = pad(rows)
    assert batch.valid[0].all() and not batch.valid[2, :4].any()
    return prepare(tiny.variables, batch)


def logits_of(backbone, variables, batch):
    return backbone.unembed(variables, backbone(variables, batch)[0])


@pytest.fixture(scope="module")
def forward(tiny):
    return partial(jax.jit(logits_of, static_argnums=0), tiny.backbone)


@pytest.fixture(scope="module")
def full(tiny, forward, prompts):
    """Logits of the prompts in one forward pass."""
    return forward(tiny.variables, prompts)


def test_it_is_a_backbone_hashed_by_identity(tiny):
    assert isinstance(tiny.backbone, Backbone)
    assert hash(tiny.backbone) != hash(tiny.variant())


def test_a_prefill_split_anywhere_is_the_full_forward(tiny, prompts, full):
    backbone, variables = tiny
    t = prompts.tokens.shape[1]
    parts = [t // 3, 1, t - t // 3 - 1]  # the first cut is within an image

    @jax.jit
    def pieces(variables, batch):
        cache, start, out = backbone.init_cache(3, t + 2), 0, []
        for length in parts:
            cut = slice(start, start + length)
            piece = Batch(
                batch.tokens[:, cut], batch.positions[..., cut], batch.valid[:, cut],
                batch.loss[:, cut],
                embeds=None if batch.embeds is None else batch.embeds[:, cut],
            )  # fmt: skip
            hidden, cache = backbone(variables, piece, cache)
            out.append(backbone.unembed(variables, hidden))
            start += length
        return jnp.concatenate(out, 1), cache

    ours, cache = pieces(variables, prompts)
    np.testing.assert_allclose(ours[prompts.valid], full[prompts.valid], atol=5e-5)
    assert int(cache.length) == t
    np.testing.assert_array_equal(cache.valid[:, :t], prompts.valid)
    assert not cache.valid[:, t:].any()


def test_padding_on_either_side_changes_nothing(tiny, rows, prepare, forward, full):
    right = prepare(tiny.variables, pad(rows, "right"))
    ours = forward(tiny.variables, right)
    for b, n in enumerate(len(row.tokens) for row in rows):
        np.testing.assert_allclose(ours[b, :n], full[b, -n:], atol=5e-5)
    noise = jnp.where(right.valid, right.tokens, 7)
    noisy = forward(tiny.variables, right._replace(tokens=noise))
    np.testing.assert_array_equal(noisy[right.valid], ours[right.valid])


def test_only_distances_between_positions_count(tiny, prompts, forward, full):
    later = forward(tiny.variables, prompts._replace(positions=prompts.positions + 17))
    np.testing.assert_allclose(later[prompts.valid], full[prompts.valid], atol=2e-4)


def test_adapters_left_out_or_zero_are_the_base_and_loud_ones_are_not(tiny, prompts, forward, full):
    base = {"params": tiny.variables["params"]}
    without, plain = (
        str(jax.make_jaxpr(partial(logits_of, backbone))(base, prompts))
        for backbone in (tiny.backbone, tiny.variant(lora=None))
    )
    assert without == plain  # the same program, so the same numbers
    lora = jax.tree.map_with_path(lambda path, x: x * (path[-1].key == "a"), tiny.variables["lora"])
    off = forward(base, prompts)
    np.testing.assert_allclose(forward(base | {"lora": lora}, prompts), off, atol=1e-5)
    assert float(jnp.abs(full - off).max()) > 0.1


# --- sampler and loss -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rollout(tiny, prompts) -> Rollout:
    return sample(
        tiny.backbone, tiny.variables, tiny.backbone.grammar, prompts,
        row_keys(jax.random.key(5), jnp.arange(12)),
        SampleStatic(NUCLEUS, LENGTH, num_generations=4),
    )  # fmt: skip


def without_towers(variables: Variables) -> Variables:
    """Whatever runs a tower again fails."""
    decoder = {"decoder": variables["params"]["decoder"]}
    return {**variables, "params": decoder}


def test_the_loss_scores_as_the_sampler_did_without_running_a_tower(tiny, rollout):
    @jax.jit
    def scored(variables, rollout):
        grammar = tiny.backbone.grammar
        return score_rollout(tiny.backbone, variables, grammar, rollout, NUCLEUS, chunk=5).logps

    off = jnp.where(rollout.valid, scored(without_towers(tiny.variables), rollout), 0)
    assert float(jnp.abs(off - rollout.logps).max()) < 3e-5
    assert float(rollout.logps.min()) < -0.3
    assert bool((rollout.state > 1).any()) == bool(tiny.backbone.grammar.image_len)


def test_a_shared_prompt_gives_the_loss_and_gradient_of_separate_rows(tiny, rollout):
    weight = np.random.default_rng(0).normal(size=(12, LENGTH))
    penalized = NUCLEUS._replace(repetition_penalty=1.3)
    variables = {k: v for k, v in without_towers(tiny.variables).items() if k != "lora"}

    def loss(adapters, rows):
        given = {**variables, "lora": adapters}
        grammar = tiny.backbone.grammar
        scores = score_rollout(tiny.backbone, given, grammar, rows, penalized, chunk=5)
        return jnp.sum(scores.logps.reshape(12, LENGTH) * weight * rows.sampled.reshape(12, LENGTH))

    run = jax.jit(jax.value_and_grad(loss))
    expected = run(tiny.variables["lora"], regroup(rollout, 1))
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(expected[1])) > 0.1
    for generations in (2, 4):
        found = run(tiny.variables["lora"], regroup(rollout, generations))
        for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(x, y, atol=1e-4 * float(jnp.abs(y).max()) + 1e-6)


def test_replies_obey_the_grammar(tiny, rollout):
    g, read = tiny.backbone.grammar, tiny.backbone.renderer.read
    text = np.flatnonzero(g.is_text).tolist()
    written = set(np.asarray(rollout.tokens)[rollout.valid & (rollout.state == 0)].tolist())
    assert written <= {*text, *g.eos, g.boi}
    rows = (x.reshape(-1, LENGTH) for x in (rollout.tokens, rollout.valid))
    replies = [read(np.asarray(t[v])) for t, v in zip(*rows, strict=True)]
    for picture in (picture for reply in replies for picture in reply.pictures):
        assert len(picture.ids) == g.image_len
        assert g.is_image[picture.ids].all()


# --- weights ----------------------------------------------------------------------------------


def equal(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.fixture(scope="module")
def saved(name, tiny, tmp_path_factory):
    """A config's `model`, its weights exported to `weights`, the adapters to `adapter`."""
    folder = tmp_path_factory.mktemp(name)
    module, (backbone, variables) = models.get(name), tiny
    module.weights.save(backbone, variables["params"], folder / "weights")
    lora = backbone.c.lora
    hf.save_adapter(
        module.weights.table(backbone), variables["lora"], folder / "adapter", alpha=lora.alpha,
        dropout=lora.dropout, base="base",
    )  # fmt: skip
    return tinies.config(name, backbone, folder) | {"weights": str(folder / "weights")}


def load(name, backbone, c, mesh):
    return models.get(name).load(backbone, c, jax.random.key(0), mesh)


def test_a_config_builds_it(name, tiny, saved):
    built = models.get(name).build(saved)
    assert built.c == tiny.backbone.c
    tower = "seed" if name == "seed_llama" else TOWERS[name]
    assert getattr(built, tower) == getattr(tiny.backbone, tower)
    assert built.renderer.tokenizer.get_vocab() == tiny.backbone.renderer.tokenizer.get_vocab()
    assert models.get(name).build(saved | {"lora": {"rank": 0}}).c.lora is None


def test_exported_weights_and_adapters_are_imported_bit_for_bit(name, tiny, saved, mesh, tmp_path):
    adapter = saved["weights"].removesuffix("weights") + "adapter"
    loaded = load(name, tiny.backbone, saved | {"adapter": adapter}, mesh)
    equal(loaded, tiny.variables)
    kernel = loaded["params"]["decoder"]["head"]["kernel"]
    assert kernel.sharding.spec == jax.P("fsdp", "tensor")
    files = models.get(name).weights.save(tiny.backbone, loaded["params"], tmp_path)
    for file in files:
        assert file.read_bytes() == (pathlib.Path(saved["weights"]) / file.name).read_bytes()


def test_without_an_adapter_to_start_from_adapters_are_new(name, tiny, saved, mesh):
    loaded = load(name, tiny.backbone, saved, mesh)
    equal(loaded["params"], tiny.variables["params"])
    assert jax.tree.structure(loaded["lora"]) == jax.tree.structure(tiny.variables["lora"])
    parts = {path[-1].key: [] for path, _ in jax.tree.leaves_with_path(loaded["lora"])}
    for path, x in jax.tree.leaves_with_path(loaded["lora"]):
        parts[path[-1].key].append(bool(x.any()))
    assert set(parts["a"]) == {True} and set(parts["b"]) == {False}


def test_every_upstream_key_is_used_and_every_parameter_filled(name, tiny, saved, mesh, tmp_path):
    weights = pathlib.Path(saved["weights"])
    tensors = safetensors_io.read(weights / "model.safetensors")
    missing = "model.layers.1.mlp.up_proj.weight"
    tensors = {n: x for n, x in tensors.items() if n != missing} | {"odd": np.zeros(3, "f4")}
    for file in weights.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "model.safetensors").unlink()
    entries = [safetensors_io.Entry(n, x.shape, x.dtype) for n, x in tensors.items()]
    safetensors_io.write(tmp_path / "model.safetensors", entries, tensors.values())
    faults = rf"1 missing \({re.escape(missing)}\); 1 unexpected \(odd\)"
    with pytest.raises(ValueError, match=faults):
        load(name, tiny.backbone, saved | {"weights": str(tmp_path)}, mesh)


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"rank": 0}, r"model.adapter is .* but model.lora.rank is 0: .*; set model.lora to"),
        ({"rank": 2}, r"has rank 4 and alpha 8, model.lora has rank 2 .*set model.lora.rank=4 and"),
        ({"alpha": 4.0}, r"model.lora has rank 4 and alpha 4; .* model.lora.alpha=8, or give"),
        (
            {"targets": ("q", "down")},
            r"adapts .*lm_head.*; model.lora.targets adapts down_proj",
        ),
    ],
)
def test_an_adapter_that_differs_from_model_lora_is_refused(name, saved, mesh, lora, message):
    c = saved | {"adapter": saved["weights"].removesuffix("weights") + "adapter", "weights": ""}
    c |= {"lora": saved["lora"] | lora}
    with pytest.raises(ValueError, match=message):
        load(name, models.get(name).build(c), c, mesh)


@pytest.mark.parametrize("tied", [False, True])
def test_every_parameter_has_a_rule(tiny, tied):
    """Adapters on every layer, optimizer state included."""
    targets = tinies.LORA.targets[: -1 if tied else None]
    backbone = tiny.variant(tied=tied, qk_norm=True, lora=tinies.LORA._replace(targets=targets))
    shapes = jax.eval_shape(backbone.init, jax.random.key(0))
    assert ("head" in shapes["params"]["decoder"]) != tied
    for path, x in hf.flatten({"opt": {"mu": shapes}, **shapes}).items():
        rules.letters("/".join(path), x.shape)


def test_what_image_ids_depend_on_is_plain(name, saved):
    identity = models.get(name).picture_identity(saved)
    assert json.loads(json.dumps(identity)) == json.loads(json.dumps(identity, sort_keys=True))
    assert identity["weights"] == saved["weights"]
    own = {"chameleon": "vqgan_weights", "seed_llama": "seed_weights"}
    if name in own:
        other = models.get(name).picture_identity(saved | {own[name]: "elsewhere"})
        assert other == identity | {"weights": "elsewhere"}
        assert identity[TOWERS[name]] == saved[TOWERS[name]]


def test_frozen_weights_may_be_bfloat16_adapters_and_logits_stay_float32(name, tiny, rows):
    half = tiny.variant(dtype="bfloat16", param_dtype="bfloat16")
    shapes = jax.eval_shape(half.init, jax.random.key(0))
    assert {k: set(tree) for k, tree in shapes.items()} == {
        "params": {"decoder", TOWERS[name]},
        "lora": {"decoder"},
    }
    dtypes = [{x.dtype.name for x in jax.tree.leaves(tree["decoder"])} for tree in shapes.values()]
    assert dtypes == [{"float32"}, {"bfloat16"}] or dtypes == [{"bfloat16"}, {"float32"}]
    q = shapes["lora"]["decoder"]["layers"]["attention"]["q"]
    width = tiny.backbone.c.width
    assert {k: x.shape for k, x in q.items()} == {"a": (2, width, 4), "b": (2, 4, width)}
    batch = jax.eval_shape(half.prepare, shapes, pad(rows))
    hidden, _ = jax.eval_shape(half, shapes, batch)
    assert hidden.dtype == jnp.bfloat16
    assert jax.eval_shape(half.unembed, shapes, hidden).dtype == jnp.float32
    assert set(jax.eval_shape(tiny.variant(lora=None).init, jax.random.key(0))) == {"params"}
