import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax.sample.grammar import allowed, is_eos, step
from mmcot_jax.types import Grammar

# 0 and 1 are codes, 2 is EOI, 3 BOI, 4 EOS, 5 and 6 words, 7 nobody's
CODES, EOI, BOI, EOS, WORDS = {0, 1}, 2, 3, 4, {5, 6}
GRAMMAR = Grammar(
    is_image=jnp.isin(jnp.arange(8), jnp.array([0, 1])),
    is_text=jnp.isin(jnp.arange(8), jnp.array([5, 6])),
    boi=BOI,
    eoi=EOI,
    eos=(EOS,),
    image_len=2,
)


def legal(state, room, grammar=GRAMMAR):
    (row,) = np.asarray(allowed(grammar, jnp.array([state]), jnp.array([room])))
    return set(np.flatnonzero(row).tolist())


def test_text_may_go_on_end_or_open_a_picture():
    assert legal(state=0, room=9) == WORDS | {EOS, BOI}


@pytest.mark.parametrize(("room", "opens"), [(3, False), (4, True)])
def test_a_picture_opens_only_where_all_of_it_fits(room, opens):
    assert (BOI in legal(state=0, room=room)) == opens  # BOI, two codes, EOI


def test_a_picture_is_its_codes_and_then_its_end():
    assert legal(state=3, room=3) == CODES
    assert legal(state=2, room=2) == CODES
    assert legal(state=1, room=1) == {EOI}


def test_a_textual_grammar_opens_no_picture():
    assert legal(0, 99, GRAMMAR._replace(image_len=0)) == WORDS | {EOS}


def test_state_counts_down_to_the_end_of_the_picture():
    states, state = [], jnp.zeros(1, jnp.int32)
    for token in (5, BOI, 0, 1, EOI, 6):
        states.append(int(state[0]))
        state = step(GRAMMAR, state, jnp.array([token]))
    assert states == [0, 0, 3, 2, 1, 0]
    assert int(state[0]) == 0


def test_a_textual_grammar_stays_in_text_after_boi():
    textual = GRAMMAR._replace(image_len=0)
    assert int(step(textual, jnp.zeros(1, jnp.int32), jnp.array([BOI]))[0]) == 0


def test_any_of_several_ends_ends():
    ends = is_eos(GRAMMAR._replace(eos=(4, 6)), jnp.array([4, 5, 6]))
    assert ends.tolist() == [True, False, True]
    assert not is_eos(GRAMMAR._replace(eos=()), jnp.array([4]))[0]
