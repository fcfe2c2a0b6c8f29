"""Laws of sampling, on the tiny Chameleon: 4..15 codes, 16 EOI, 17 BOI, 2 EOS, 18..27 words."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.rollouts import flat, sample_rows

from mmcot_jax import mesh as meshes
from mmcot_jax.sample.distribution import Sampling, token_log_probs
from mmcot_jax.sample.grammar import allowed
from mmcot_jax.sample.sampler import Continued, SampleStatic, row_keys, sample, sample_on
from mmcot_jax.train.logps import concat_prompt_completions
from mmcot_jax.types import Batch

EOS, EOI, BOI = 2, 16, 17
CODES, WORDS = set(range(4, 16)), set(range(18, 28))
ROWS, PROMPT, LENGTH, PICTURE = 8, 9, 24, 6
NUCLEUS = Sampling(temperature=0.7, top_p=0.9)


def prompts():
    """Eight rows of words and a picture, left padded by 0 .. 5."""
    random = np.random.default_rng(0)
    tokens = random.integers(18, 28, (ROWS, PROMPT)).astype(np.int32)
    tokens[::2, 3:] = [BOI, 4, 9, 15, 7, EOI][:PICTURE]
    valid = np.arange(PROMPT) >= np.arange(ROWS)[:, None] % 4
    tokens = np.where(valid, tokens, 1)
    positions = np.maximum(np.cumsum(valid, axis=1) - 1, 0).astype(np.int32)
    return jax.tree.map(jnp.asarray, Batch(tokens, positions[None], valid, np.zeros_like(valid)))


def rows(batch, index):
    """Some rows of a batch without pictures' pixels."""
    take = lambda x: x[jnp.asarray(index)]  # noqa: E731
    return Batch(
        take(batch.tokens), batch.positions[:, jnp.asarray(index)], take(batch.valid),
        take(batch.loss),
    )  # fmt: skip


@partial(jax.jit, static_argnums=(0, 4))
def recompute(backbone, variables, rollout, grammar, sampling):
    """The trainer's log-probabilities: one full forward over prompt and completion, no cache."""
    prompt, width = rollout.prompt, rollout.prompt.tokens.shape[1]
    last = prompt.positions.max(axis=-1, keepdims=True)
    after = last + 1 + jnp.arange(rollout.tokens.shape[1])
    whole = Batch(
        tokens=jnp.concatenate([prompt.tokens, rollout.tokens], 1),
        positions=jnp.concatenate([prompt.positions, after], 2),
        valid=jnp.concatenate([prompt.valid, rollout.valid], 1),
        loss=jnp.concatenate([prompt.loss, rollout.valid], 1),
    )
    hidden, _ = backbone(variables, whole)
    logits = backbone.unembed(variables, hidden[:, width - 1 : -1])
    law = token_log_probs(logits, allowed(grammar, rollout.state, rollout.room), sampling)
    logps = jnp.take_along_axis(law, rollout.tokens[..., None], axis=-1)[..., 0]
    return jnp.where(rollout.valid, logps, 0.0)


class Run(NamedTuple):
    """Eight rollouts and what they were made of."""

    draw: Callable
    prompt: Batch
    keys: jax.Array
    rollout: object


@pytest.fixture(scope="module")
def run(chameleon):
    backbone, variables = chameleon

    def draw(prompt, keys, num_generations=1):
        static = SampleStatic(NUCLEUS, LENGTH, num_generations)
        return sample_rows(backbone, variables, backbone.grammar, prompt, keys, static)

    prompt, keys = prompts(), row_keys(jax.random.key(5), jnp.arange(ROWS))
    return Run(draw, prompt, keys, draw(prompt, keys))


def written(rollout):
    """Each row's tokens up to its end, as lists."""
    pairs = zip(np.asarray(rollout.tokens), np.asarray(rollout.valid), strict=True)
    return [tokens[valid].tolist() for tokens, valid in pairs]


def same(a, b):
    np.testing.assert_array_equal(a.tokens, b.tokens)
    np.testing.assert_array_equal(a.valid, b.valid)
    np.testing.assert_array_equal(a.state, b.state)
    np.testing.assert_allclose(a.logps, b.logps, atol=1e-5)


def test_every_rollout_obeys_the_grammar(run):
    pictures, ended = 0, 0
    for row in written(run.rollout):
        rest = iter(row)
        for token in rest:
            if token == BOI:
                pictures += 1
                assert all(next(rest) in CODES for _ in range(4))
                assert next(rest) == EOI
            else:
                assert token in WORDS | {EOS}
            ended += token == EOS
        assert EOS not in row[:-1]
        assert row[-1] == EOS or len(row) == LENGTH
    assert pictures >= 3
    assert ended >= 1


def test_state_room_and_choice_are_told_for_each_token(run):
    out = jax.tree.map(np.asarray, run.rollout)
    for tokens, state, room, valid, sampled in zip(
        out.tokens, out.state, out.room, out.valid, out.sampled, strict=True
    ):
        expected = 0
        for t in np.flatnonzero(valid):
            assert state[t] == expected
            assert room[t] == LENGTH - t
            assert sampled[t] == (tokens[t] != EOI)  # the end of a picture is no choice
            expected = 5 if tokens[t] == BOI else max(expected - 1, 0)
        assert not sampled[~valid].any()
        assert (tokens[~valid] == 0).all()
    assert (out.logps[~out.valid] == 0).all()
    assert (out.logps[out.valid & ~out.sampled] == 0).all()


def test_its_log_probabilities_are_the_trainers(run, chameleon):
    backbone, variables = chameleon
    repeated = recompute(backbone, variables, run.rollout, backbone.grammar, NUCLEUS)
    assert float(jnp.abs(repeated - run.rollout.logps).max()) < 1e-5
    assert float(run.rollout.logps.min()) < -0.5


def test_a_trainer_without_the_grammar_is_off_by_tenths_of_nats(run, chameleon):
    backbone, variables = chameleon
    everything = backbone.grammar._replace(is_text=jnp.ones(36, bool), is_image=jnp.ones(36, bool))
    plain = Sampling(NUCLEUS.temperature)  # truncation would make the difference infinite
    draw = sample_rows(
        backbone, variables, backbone.grammar, run.prompt, run.keys, SampleStatic(plain, LENGTH)
    )
    right = recompute(backbone, variables, draw, backbone.grammar, plain)
    wrong = recompute(backbone, variables, draw, everything, plain)
    assert float(jnp.abs(right - draw.logps).max()) < 1e-5
    assert float(jnp.abs(wrong - draw.logps).max()) > 0.1


def test_a_group_is_its_prompt_as_often_with_the_same_keys(run):
    two = rows(run.prompt, [2, 5])
    grouped = run.draw(two, run.keys[:6], num_generations=3)
    apart = run.draw(rows(run.prompt, [2, 2, 2, 5, 5, 5]), run.keys[:6])
    same(grouped, apart)
    np.testing.assert_array_equal(grouped.prompt.tokens, apart.prompt.tokens)
    assert written(grouped)[0] != written(grouped)[1]


def test_a_row_does_not_depend_on_the_rows_beside_it(run):
    chosen = [5, 2]
    some = run.draw(rows(run.prompt, chosen), run.keys[jnp.array(chosen)])
    same(some, jax.tree.map(lambda x: x[jnp.array(chosen)], run.rollout._replace(prompt=None)))


def test_with_the_options_of_a_gpu_the_same_is_written(run, chameleon):
    """Here they are known and have no effect; other platforms have none."""
    assert sample_on("cpu") is sample_on("tpu") is sample
    backbone, variables = chameleon
    given = variables, backbone.grammar, run.prompt, run.keys
    written = sample_on("gpu")(backbone, *given, SampleStatic(NUCLEUS, LENGTH))
    same(flat(written), run.rollout)


def test_prompts_taken_in_parts_are_written_as_all_at_once(run, chameleon, monkeypatch):
    backbone, variables = chameleon
    caches, real = [], type(backbone).init_cache

    def spy(self, count, slots, prompts=None):
        caches.append(count)
        return real(self, count, slots, prompts)

    monkeypatch.setattr(type(backbone), "init_cache", spy)
    jax.clear_caches()  # so that it is traced again, whatever was sampled before
    prompt = rows(run.prompt, [0, 1, 2, 3])
    given = (backbone, variables, backbone.grammar, prompt, run.keys)
    two = SampleStatic(NUCLEUS, LENGTH, num_generations=2)
    parts = sample_rows(*given, two._replace(micro_batches=2))
    assert caches == [2, 4]  # two prompts of four at once, and their samples
    whole = sample_rows(*given, two)
    assert caches[2:] == [4, 8]
    same(parts._replace(prompt=None), whole._replace(prompt=None))
    for a, b in zip(parts.prompt[:4], whole.prompt[:4], strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_continued_row_has_the_noise_and_the_budget_of_its_place(run, chameleon):
    backbone, variables = chameleon
    written_before = jnp.arange(2 * ROWS, dtype=jnp.int32) % 5 * 5
    continued = Continued(written_before, LENGTH - written_before)
    keys = row_keys(jax.random.key(5), jnp.arange(2 * ROWS))
    given = (backbone, variables, backbone.grammar, run.prompt, keys)
    two = SampleStatic(NUCLEUS, LENGTH, num_generations=2)
    whole = sample_rows(*given, two, continued)  # 16 rows: those that ended are left out
    parts = sample_rows(*given, two._replace(micro_batches=2), continued)
    same(whole, parts._replace(prompt=None))
    first = np.asarray(whole.room)[:, 0]
    assert first.tolist() == [24, 19, 14, 9, 4] * 3 + [24]
    assert all(len(row) <= room for row, room in zip(written(whole), first, strict=True))
    # a completion that begins later draws the noise of a later place
    shifted = written_before.at[0].set(1)
    other = sample_rows(*given, two, Continued(shifted, continued.room))
    assert written(other)[0] != written(whole)[0] and written(other)[1:] == written(whole)[1:]


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(2, 2, 2), (8, 1, 1)])
def test_a_row_does_not_depend_on_the_mesh(run, chameleon, shape):
    mesh = meshes.make(*shape)
    backbone, variables = chameleon
    variables = jax.device_put(variables, meshes.shardings(variables, mesh))
    axes = Batch(0, 1, 0, 0)
    prompt = Batch(*meshes.put(tuple(run.prompt[:4]), mesh, tuple(axes[:4])))
    with jax.set_mesh(mesh):
        keys = row_keys(jax.random.key(5), meshes.put(np.arange(ROWS), mesh))
        out = sample_rows(
            backbone, variables, backbone.grammar, prompt, keys, SampleStatic(NUCLEUS, LENGTH)
        )
    same(jax.tree.map(meshes.get, out._replace(prompt=None)), run.rollout._replace(prompt=None))


@pytest.mark.parametrize(("length", "opens"), [(PICTURE - 1, False), (PICTURE, True)])
def test_a_budget_that_ends_one_short_opens_no_picture(run, chameleon, length, opens):
    backbone, variables = chameleon
    one_word = backbone.grammar._replace(is_text=jnp.arange(36) == 18, eos=())
    out = sample_rows(
        backbone, variables, one_word, run.prompt, run.keys, SampleStatic(Sampling(5.0), length)
    )
    drawn = [row for row in written(out) if BOI in row]
    assert bool(drawn) == opens
    assert all(row[0] == BOI and row[-1] == EOI for row in drawn)


def test_the_textual_twin_draws_nothing(run, chameleon):
    backbone, variables = chameleon
    textual = backbone.grammar._replace(image_len=0)
    out = sample_rows(
        backbone, variables, textual, run.prompt, run.keys, SampleStatic(NUCLEUS, LENGTH)
    )
    assert {token for row in written(out) for token in row} <= WORDS | {EOS}


def test_greedy_is_the_likeliest_token_of_a_full_forward(run, chameleon):
    backbone, variables = chameleon
    grammar, greedy = backbone.grammar, Sampling(greedy=True)
    prompt = rows(run.prompt, [0, 3])
    out = sample_rows(backbone, variables, grammar, prompt, run.keys[:2], SampleStatic(greedy, 8))
    repeated = recompute(backbone, variables, out, grammar, greedy)
    np.testing.assert_allclose(repeated, out.logps, atol=1e-5)
    hidden, _ = backbone(variables, prompt)
    first = backbone.unembed(variables, hidden[:, -1])
    legal = allowed(grammar, jnp.zeros(2, jnp.int32), jnp.full(2, 8))
    np.testing.assert_array_equal(out.tokens[:, 0], jnp.where(legal, first, -jnp.inf).argmax(-1))


def test_a_penalty_counts_the_prompt_and_what_was_written(run, chameleon):
    """Against each row written again, token by token, by transformers' rule in numpy."""
    backbone, variables = chameleon
    sampling = Sampling(greedy=True, repetition_penalty=1.5)
    prompt = rows(run.prompt, [0, 1, 3])
    given = (backbone, variables, backbone.grammar, prompt, run.keys[:3])
    out = sample_rows(*given, SampleStatic(sampling, 8))
    plain = sample_rows(*given, SampleStatic(Sampling(greedy=True), 8))
    assert not np.array_equal(out.tokens, plain.tokens)
    alone = jax.tree.map(lambda x: x[:, None], out._replace(prompt=None))
    both = concat_prompt_completions(alone._replace(prompt=out.prompt))
    hidden, _ = backbone(variables, both)
    logits = np.asarray(backbone.unembed(variables, hidden[:, PROMPT - 1 : -1]))
    legal = np.asarray(allowed(backbone.grammar, out.state, out.room))
    tokens, valid = np.asarray(both.tokens), np.asarray(both.valid)
    for b, t in zip(*np.nonzero(np.asarray(out.valid)), strict=True):
        ids = tokens[b, : PROMPT + t][valid[b, : PROMPT + t]]
        scores = logits[b, t].copy()
        if out.state[b, t] == 0:  # pictures are not penalized
            scores[ids] = np.where(scores[ids] < 0, scores[ids] * 1.5, scores[ids] / 1.5)
        scores[~legal[b, t]] = -np.inf
        assert out.tokens[b, t] == scores.argmax()
        total = np.log(np.exp(scores - scores.max()).sum())
        assert out.logps[b, t] == pytest.approx(-total, abs=1e-5)


def test_keys_are_made_of_row_numbers():
    whole = jax.random.key_data(row_keys(jax.random.key(0), jnp.arange(4)))
    part = jax.random.key_data(row_keys(jax.random.key(0), jnp.array([3, 1])))
    np.testing.assert_array_equal(part, whole[jnp.array([3, 1])])
    assert len(np.unique(whole, axis=0)) == 4
