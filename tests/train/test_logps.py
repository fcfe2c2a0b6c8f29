import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax import mesh as meshes
from mmcot_jax.sample.distribution import Sampling
from mmcot_jax.sample.sampler import SampleStatic, row_keys, sample
from mmcot_jax.train.logps import concat_prompt_completions, score, score_rollout
from mmcot_jax.types import Backbone, Batch, Grammar, Rollout

B, T, V = 2, 10, 36


@pytest.fixture(scope="module")
def given():
    random = np.random.default_rng(0)
    hidden = jnp.asarray(random.normal(size=(B, T, 32)), jnp.float32)
    return hidden, jnp.asarray(random.integers(0, V, (B, T)), jnp.int32)


def test_it_is_the_log_softmax_at_the_target(chameleon, given):
    backbone, variables = chameleon
    hidden, targets = given
    logits = backbone.unembed(variables, hidden)
    expected = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)[..., 0]
    scores = score(backbone, variables, hidden, targets, chunk=T)
    np.testing.assert_allclose(scores.logps, expected, atol=1e-6)
    np.testing.assert_array_equal(scores.is_argmax, logits.argmax(-1) == targets)
    likeliest = score(backbone, variables, hidden, logits.argmax(-1).astype(jnp.int32), chunk=3)
    assert likeliest.is_argmax.all()


def total(chameleon, chunk):
    def f(variables, hidden, targets):
        return score(chameleon.backbone, variables, hidden, targets, chunk).logps.sum()

    return jax.value_and_grad(f, (0, 1))


@pytest.mark.parametrize("chunk", [1, 3, 5])
def test_chunks_are_the_whole_gradients_included(chameleon, given, chunk):
    whole, gradient = jax.jit(total(chameleon, T))(chameleon.variables, *given)
    parts, gradients = jax.jit(total(chameleon, chunk))(chameleon.variables, *given)
    np.testing.assert_allclose(parts, whole, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), gradients, gradient)
    assert float(jnp.abs(gradient[0]["params"]["decoder"]["head"]["kernel"]).max()) > 0.1


@pytest.mark.parametrize(("chunk", "whole"), [(5, False), (T, True)])
def test_chunked_it_never_holds_all_logits(chameleon, given, chunk, whole):
    program = str(jax.make_jaxpr(total(chameleon, chunk))(chameleon.variables, *given))
    assert (f"f32[{B},{T},{V}]" in program) == whole
    assert f"f32[{B},{chunk},{V}]" in program


def test_its_gradient_scatters_nothing_into_the_logits(chameleon, given):
    program = str(jax.make_jaxpr(total(chameleon, T))(chameleon.variables, *given))
    assert f"f32[{B},{T},{V}]" in program and "scatter" not in program


# ---------------------------------------------------------------------------- rollouts

NEVER = jnp.finfo(jnp.float32).min


class Fixed(Backbone):
    """A backbone that says the same logits everywhere."""

    grammar = None  # else whether it is a `Backbone` is found out by calling the protocol's own

    def __call__(self, variables, batch, *, shared):
        logits = variables["logits"]
        return jnp.broadcast_to(logits, (*batch.tokens.shape, logits.shape[-1])), None

    def unembed(self, variables, hidden):
        return hidden


def fixed_rollout(tokens, state=0):
    tokens = jnp.asarray([[tokens]], jnp.int32)
    yes, zeros = jnp.ones(tokens.shape, bool), jnp.zeros(tokens.shape, jnp.int32)
    one = jnp.ones((1, 1), bool)
    prompt = Batch(jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1, 1), jnp.int32), one, one)
    return Rollout(prompt, tokens, zeros + state, zeros, yes, yes, 0.0 * tokens)


def fixed_logps(probabilities, tokens, sampling, state=0):
    """Log-probabilities and entropies at a law given by its probabilities; token 3 is an image."""
    image = jnp.arange(len(probabilities)) == 3
    grammar = Grammar(is_image=image, is_text=~image)
    logits = jnp.log(jnp.asarray(probabilities, jnp.float32))
    rollout = fixed_rollout(tokens, state)

    def f(logits):
        return score_rollout(Fixed(), {"logits": logits}, grammar, rollout, sampling, chunk=2)

    policy = f(logits)
    gradient = jax.grad(lambda x: f(x).logps.sum())(logits)
    return np.asarray(policy.logps[0, 0]), np.asarray(policy.entropy[0, 0]), np.asarray(gradient)


def test_it_is_the_law_of_grammar_temperature_and_truncation():
    # 3 is not text; of 0.4 0.2 0.1 the temperature 0.5 makes 16 4 1, top-k 2 keeps 16 4
    logps, entropy, gradient = fixed_logps([0.4, 0.2, 0.1, 0.3], [0, 1], Sampling(0.5, top_k=2))
    np.testing.assert_allclose(np.exp(logps), [0.8, 0.2], rtol=1e-5)
    np.testing.assert_allclose(entropy, [0.500402] * 2, rtol=1e-5)
    np.testing.assert_allclose(gradient, [-1.2, 1.2, 0, 0], atol=1e-5)


def test_what_a_row_has_already_is_penalized_where_it_comes_again():
    # the prompt is token 0: 2 / 2 at once; token 1 is 1.5 where it is new and 1.5 / 2 after
    sampling = Sampling(repetition_penalty=2.0)
    logps, _, _ = fixed_logps(np.exp([2.0, 1.5, -1.0]), [1, 1, 2, 2], sampling)
    laws = [[1, 1.5, -1], [1, 0.75, -1], [1, 0.75, -1], [1, 0.75, -2]]
    expected = [x[t] - np.log(np.exp(x).sum()) for x, t in zip(laws, [1, 1, 2, 2], strict=True)]
    np.testing.assert_allclose(logps, expected, atol=1e-5)


@pytest.mark.parametrize("truncation", [{"top_p": 0.9}, {"min_p": 0.5}], ids=str)
@pytest.mark.parametrize("chunk", [5, 24])
def test_of_penalized_and_truncated_samples_the_ratio_is_one(chameleon, chunk, truncation):
    backbone, variables = chameleon
    given = backbone, variables, backbone.grammar
    sampling = Sampling(0.7, **truncation, repetition_penalty=1.3)
    keys = row_keys(jax.random.key(3), jnp.arange(8))
    prompt = a_rollout(b=4).prompt
    rollout = sample(*given, prompt, keys, SampleStatic(sampling, 24, num_generations=2))
    policy = score_rollout(*given, rollout, sampling, chunk)
    np.testing.assert_allclose(policy.logps, rollout.logps, atol=1e-5)
    for off in (Sampling(0.7, **truncation), Sampling(0.7, repetition_penalty=1.3)):
        without = score_rollout(*given, rollout, off, chunk)
        assert float(jnp.abs(without.logps - rollout.logps).max()) > 0.1


@pytest.mark.parametrize(
    "truncation", [{}, {"top_p": 0.9}, {"min_p": 0.2}, {"repetition_penalty": 1.3}], ids=str
)
def test_of_pictures_with_their_own_temperature_the_ratio_is_one(chameleon, truncation):
    backbone, variables = chameleon
    given = backbone, variables, backbone.grammar
    sampling = Sampling(2.0, image_temperature=0.5, **truncation)
    keys = row_keys(jax.random.key(3), jnp.arange(8))
    static = SampleStatic(sampling, 24, num_generations=2)
    rollout = sample(*given, a_rollout(b=4).prompt, keys, static)
    policy = score_rollout(*given, rollout, sampling, 5)
    np.testing.assert_allclose(policy.logps, rollout.logps, atol=1e-5)
    one = score_rollout(*given, rollout, Sampling(2.0, **truncation), 5)
    differs = np.abs(np.asarray(one.logps - rollout.logps)) > 1e-3
    drawn = np.asarray(rollout.state > 1)
    assert differs[drawn].any() and not differs[~drawn].any()


@pytest.mark.parametrize("sampling", [Sampling(top_k=2), Sampling(top_p=0.8), Sampling(min_p=0.5)])
def test_a_token_that_fell_out_of_the_truncated_set_stays_a_number(sampling):
    """Rounding at the set's edge: the law is then that of the set and the token."""
    logps, _, gradient = fixed_logps([0.5, 0.3, 0.2, 0.0], [2, 0, 1], sampling)
    np.testing.assert_allclose(np.exp(logps), [0.2, 0.625, 0.375], rtol=1e-5)
    # of the first alone: 1 - 0.2 for the token, minus the others' share; then those of two
    expected = [-0.5 + 1 - 2 * 0.625, -0.3 + 1 - 2 * 0.375, 0.8, 0]
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(top_k=2)])
def test_what_the_grammar_forbids_is_not_excused(sampling):
    logps, _, gradient = fixed_logps([0.4, 0.3, 0.2, 0.1], [3, 0], sampling)
    assert logps[0] == NEVER and np.isfinite(gradient).all()
    forced, entropy, gradient = fixed_logps([0.4, 0.3, 0.2, 0.1], [3], sampling, state=2)
    assert forced[0] == entropy[0] == 0 and not gradient.any()


def test_positions_go_on_after_the_prompts_largest_on_any_axis():
    # three axes, two rows of three, the second padded by one; an image spans 2 on one axis
    positions = np.zeros((3, 2, 3), np.int32)
    positions[:, 0] = [[0, 1, 1], [0, 1, 2], [0, 1, 1]]
    positions[:, 1] = [[9, 0, 1]] * 3
    valid = np.array([[1, 1, 1], [0, 1, 1]], bool)
    prompt = jax.tree.map(jnp.asarray, Batch(valid.astype(np.int32), positions, valid, valid))
    ints = jnp.zeros((2, 2, 2), jnp.int32)
    flags = jnp.array([[[True, True], [True, False]], [[True, False], [True, True]]])
    batch = concat_prompt_completions(
        Rollout(prompt, ints + 7, ints, ints, flags, flags, 0.0 * ints)
    )
    np.testing.assert_array_equal(
        batch.positions[1], [[0, 1, 2, 3, 4, 3, 4], [9, 0, 1, 2, 3, 2, 3]]
    )
    np.testing.assert_array_equal(batch.positions[0, 0], [0, 1, 1, 3, 4, 3, 4])
    np.testing.assert_array_equal(batch.tokens, [[1, 1, 1, 7, 7, 7, 7], [0, 1, 1, 7, 7, 7, 7]])
    np.testing.assert_array_equal(batch.valid, [[1, 1, 1, 1, 1, 1, 0], [0, 1, 1, 1, 0, 1, 1]])
    np.testing.assert_array_equal(batch.loss, [[0, 0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 0, 1, 1]])


def a_rollout(b=2, width=4, length=10):
    random = np.random.default_rng(0)
    tokens = jnp.asarray(random.integers(18, 28, (b, width + length)), jnp.int32)
    yes = jnp.ones((b, width + length), bool)
    positions = jnp.broadcast_to(jnp.arange(width), (1, b, width))
    prompt = Batch(tokens[:, :width], positions, yes[:, :width], yes[:, :width])
    zeros = jnp.zeros((b, 1, length), jnp.int32)
    yes = yes[:, None, :length]
    return Rollout(prompt, tokens[:, None, width:], zeros, zeros + 9, yes, yes, 0.0 * zeros)


def rollout_total(chameleon, rollout, chunk, backbone=None):
    backbone = backbone or chameleon.backbone
    sampling, grammar = Sampling(0.7, top_p=0.9), backbone.grammar

    def f(variables):
        policy = score_rollout(backbone, variables, grammar, rollout, sampling, chunk)
        return policy.logps.sum(), policy

    return jax.value_and_grad(f, has_aux=True)


@pytest.mark.parametrize(("chunk", "all_of_it"), [(5, False), (10, True)])
def test_rollouts_are_scored_without_ever_holding_all_logits(chameleon, chunk, all_of_it):
    rollout = a_rollout()
    program = str(jax.make_jaxpr(rollout_total(chameleon, rollout, chunk))(chameleon.variables))
    assert ("f32[2,10,36]" in program) == all_of_it
    assert f"f32[2,{chunk},36]" in program
    assert "f32[2,14,36]" not in program  # completions only


def test_bfloat16_weights_still_give_float32_logits_to_the_law(chameleon):
    backbone = chameleon.variant(dtype="bfloat16")
    _, policy = jax.jit(rollout_total(chameleon, a_rollout(), 4, backbone))(chameleon.variables)[0]
    assert policy.logps.dtype == policy.entropy.dtype == jnp.float32
    fine = np.asarray(policy.logps).view(np.uint32) & 0xFFFF  # the bits bfloat16 has not
    assert (fine != 0).any()


@pytest.mark.slow
def test_the_head_is_gathered_once_and_logits_never(chameleon):
    """On 2 x 2 x 2 devices a chunk's logits lie split by rows and vocabulary."""
    mesh = meshes.make(2, 2, 2)
    variables = jax.device_put(chameleon.variables, meshes.shardings(chameleon.variables, mesh))
    rollout = a_rollout(b=8)
    hidden = meshes.put(np.ones((8, 10, 32), np.float32), mesh)
    targets = meshes.put(np.asarray(rollout.tokens)[:, 0], mesh)

    def f(variables, hidden):
        return score(chameleon.backbone, variables, hidden, targets, 5).logps.sum()

    with jax.set_mesh(mesh):
        program = jax.jit(jax.grad(f, (0, 1))).lower(variables, hidden).compile().as_text()
    assert "f32[2,5,18]" in program or "f32[10,18]" in program  # 8 / 4 rows, 36 / 2 ids
    for line in program.splitlines():
        if " all-gather(" in line or " all-reduce(" in line:
            shape = line.split("=")[1].split("(")[0]
            assert "5,18]" not in shape and "5,36]" not in shape and "10,18]" not in shape, line
