"""Rewards for a puzzle's reply: its letter, caption, judgements and form."""

import numpy as np
import pytest

from mmcot_jax.example import Example, Picture, Reply
from mmcot_jax.rewards import puzzle
from mmcot_jax.tasks import puzzlevqa

EXAMPLE = Example("0", (), "B", extra={"options": ("red", "blue", "green")})
PICTURE = Picture(np.arange(4))
FINAL = "# Final Answer:\nTherefore, among (A) (B) (C), the answer is: (B)."
PATTERN = "The colours alternate.\n\n"


def drawn(letters: str, pictures: int = 1, final: str = FINAL) -> Reply:
    segments: list = [PATTERN]
    for letter in letters:
        segments += [f"# Option {letter}\nReplacing: ", *[PICTURE] * pictures, "\nIt fits.\n\n"]
    return Reply((*segments, final))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("the answer is: (B).", 1.0),
        ("the answer is: (A).", 0.0),
        ("the answer is: (A). No: the answer is: (B).", 1.0),
        ("(B)", 0.0),
        ("", 0.0),
    ],
)
def test_accuracy_is_1_where_the_last_stated_letter_is_right(reply, expected):
    assert puzzle.accuracy(EXAMPLE, Reply((reply,))) == expected


@pytest.mark.parametrize(
    ("reply", "form", "form_drawn"),
    [
        (drawn("ABC"), 1.0, 1.0),
        (drawn(""), 1.0, 0.0),  # the textual chain
        (drawn("AB"), 0.0, 0.0),
        (drawn("ACB"), 0.0, 0.0),
        (drawn("ABC", pictures=0), 0.0, 0.0),
        (drawn("ABC", pictures=2), 0.0, 0.0),
        (drawn("ABC", final="# Final Answer:\nBased on it."), 0.0, 0.0),
        (drawn("ABC", final=FINAL + "\n" + FINAL), 0.0, 0.0),
        (Reply((FINAL,)), 0.0, 0.0),  # no pattern before it
        (Reply(()), 0.0, 0.0),
    ],
)
def test_a_chain_has_the_taught_form_or_not(reply, form, form_drawn):
    assert puzzle.format(EXAMPLE, reply) == form
    assert puzzle.format_drawn(EXAMPLE, reply) == form_drawn


def test_a_question_without_its_answers_option_is_a_fault_of_the_data():
    with pytest.raises(ValueError, match="'0' has the answer 'D' and 3 options"):
        puzzle.accuracy(EXAMPLE._replace(answer="D"), Reply(()))


CAPTION = "The color of the squares are ['?', 'blue', 'red']. The overlap is purple."
STATED = EXAMPLE._replace(extra={"caption": CAPTION, "facts": ("?", "blue", "red", "purple")})


@pytest.mark.parametrize(
    ("reply", "share"),
    [
        (CAPTION, 1.0),
        (f"{CAPTION} We observe red.\n\n# Option A", 1.0),
        (CAPTION.replace("'", ""), 1.0),
        (CAPTION.replace("'blue', 'red'", "'red', 'blue'"), 0.5),
        (CAPTION.removesuffix(" is purple."), 0.5),
        (f"So: {CAPTION}", 0.0),  # compared from the first word on
        ("the answer is: (B).", 0.0),
        ("", 0.0),
    ],
)
def test_each_word_of_the_caption_that_differs_is_a_fact_missed(reply, share):
    assert puzzle.caption(STATED, Reply((reply,))) == share


def test_a_picture_counts_as_a_word_and_shifts_those_after_it():
    start, end = CAPTION.split(" The overlap")
    assert puzzle.caption(STATED, Reply((start, PICTURE, f" The overlap{end}"))) == 0.0


@pytest.mark.parametrize("name", ["caption", "facts"])
def test_a_question_without_a_caption_or_its_facts_is_named(name):
    with pytest.raises(ValueError, match=r"'0' has no extra\['caption'\] with its"):
        puzzle.caption(STATED._replace(extra=STATED.extra | {name: ()}), Reply((CAPTION,)))


@pytest.mark.parametrize("wording", ["corrected", "original"])
def test_taught_chains_state_and_judge_all_rightly(wording):
    kinds = [name for name, kind in puzzlevqa.KINDS.items() if kind.multimodal]
    for example in puzzlevqa.load(kinds, count=2, size=24, wording=wording):
        reply = Reply(tuple(s if isinstance(s, str) else PICTURE for s in example.rationale))
        parts = puzzle.judgements(example, reply)
        assert puzzle.caption(example, reply) == 1.0
        assert sum(part.value for part in parts) == pytest.approx(1)


def judged(*options: tuple[str, str], letters: str = "ABC") -> Reply:
    segments: list = [PATTERN]
    for letter, (option, verdict) in zip(letters, options, strict=True):
        name = f"# Option {letter}\nReplacing '?' with {option}: "
        segments += [name, PICTURE, f"\nReasoning: It {verdict.replace('NAME', option)} it.\n\n"]
    return Reply((*segments, FINAL))


FITS, FAILS = "matches well the pattern", "does not fit the observed pattern"
STRONG, UNLIKELY = "NAME is a strong candidate for", "NAME is unlikely to be"
YES, NO = f"{FITS}. {STRONG}", f"{FAILS}. {UNLIKELY}"


@pytest.mark.parametrize(
    ("reply", "share"),
    [
        (judged(("red", NO), ("blue", YES), ("green", NO)), 1.0),
        (judged(("red", YES), ("blue", YES), ("green", NO)), 7 / 8),
        (judged(("red", NO), ("blue", NO), ("green", NO)), 3 / 4),  # rejects every option
        (judged(("red", YES), ("blue", YES), ("green", YES)), 3 / 4),
        (judged(("red", NO), ("red", NO), ("green", NO)), 7 / 12),  # blue is not named
        (judged(("red", f"{NO} it. {STRONG}"), ("blue", YES), ("green", NO)), 7 / 8),
        # a reason that contradicts its verdict, or is left out
        (judged(("red", f"{FITS}. {UNLIKELY}"), ("blue", YES), ("green", NO)), 7 / 8),
        (judged(("red", NO), ("blue", f"{FAILS}. {STRONG}"), ("green", NO)), 3 / 4),
        (judged(("red", NO), ("blue", f"{FITS}, {FAILS}. {STRONG}"), ("green", NO)), 3 / 4),
        (judged(("red", NO), ("blue", f"is. {STRONG}"), ("green", NO)), 3 / 4),
        (judged(("red", NO), ("blue", YES), letters="AB"), 17 / 24),
        (judged(("red", NO), ("blue", YES), letters="BA"), 0.0),
        (judged(("red", YES), ("red", NO), letters="AA"), 1 / 6),  # the first section counts
        (drawn("ABC"), 0.0),
        (Reply(()), 0.0),
    ],
)
def test_names_count_half_and_the_answers_judgement_as_much_as_all_others(reply, share):
    parts = puzzle.judgements(EXAMPLE, reply)
    assert sum(part.value for part in parts) == pytest.approx(share)
    assert len(parts) == 3


def test_a_judgement_is_of_the_options_own_section():
    reply = judged(("red", NO), ("blue", NO), ("green", NO))
    parts, text = puzzle.judgements(EXAMPLE, reply), reply.text
    sections = [text[part.start : part.end] for part in parts]
    assert "".join(sections) == text[len(PATTERN) : -len(FINAL)]
    assert [s.splitlines()[0] for s in sections] == ["# Option A", "# Option B", "# Option C"]
    assert [part.value for part in parts] == pytest.approx([7 / 24, 1 / 6, 7 / 24])
    # a section that is missing is worth nothing, and is nowhere
    *_, last = puzzle.judgements(EXAMPLE, judged(("red", NO), ("blue", YES), letters="AB"))
    assert last == (0, 0, 0.0)
