"""Thoughts and answers in tags, read leniently."""

import pytest

from mmcot_jax.answers import think_answer, yes_no
from mmcot_jax.evals import metrics
from mmcot_jax.example import Example


def test_the_first_closed_block_is_read():
    text = "<think>a\nb</think> <answer> B, C </answer><answer>D</answer>"
    assert (think_answer.read_thought(text), think_answer.read_answer(text)) == ("a\nb", "B, C")
    assert (think_answer.read_thought("<think>a"), think_answer.read_answer("B")) == ("", None)


@pytest.mark.parametrize(
    ("answer", "letters"),
    [
        ("B, C", "BC"),
        ("C,B", "BC"),
        ("(c) and (B)", "BC"),
        ("b, c", "BC"),
        ("a and b", "AB"),
        ("B C.", "BC"),
        ("A and B", "AB"),
        ("B: green", "B"),
        ("D.", "D"),
        ("A dog", ""),
        ("I'm not sure", ""),
        ("All of the above", ""),
        ("BAD", ""),
        ("", ""),
        # the pronoun and the article are no letters
        ("(C) I would wait.", "C"),
        ("I would say C", "C"),
        ("(C) A Toyota", "C"),
        ("C. A Toyota", "C"),
        ("A Toyota", "A"),
        ("A car is coming", ""),
        ("a car", ""),
        ("A is right", "A"),
        ("C because it is closed", "C"),
        # other ways to write a letter
        ("b) red", "B"),
        ("a) and c)", "AC"),
        ("b or c", "BC"),
        ("(A and B)", "AB"),
        ("option b", "B"),
        ("**C**", "C"),
        ("__C__", "C"),
        ("'C'", "C"),
        ("C/D", "CD"),
        ("Ｃ", "C"),
        ("（Ｂ）", "B"),
        # no letters
        ("20 °C", ""),
        ("C-section", ""),
        ("option a car", ""),
        ("II", ""),
    ],
)
def test_an_answer_names_a_set_of_letters(answer, letters):
    assert think_answer.option_letters(answer, 4) == frozenset(letters)


def test_a_letter_beyond_the_options_is_none():
    assert think_answer.option_letters("A, E", 4) == {"A"}
    assert think_answer.option_letters("A, E", 5) == {"A", "E"}
    assert think_answer.option_letters("Option I", 4) == frozenset()
    assert think_answer.option_letters("Option I", 9) == {"I"}
    assert think_answer.option_letters("I think C", 9) == {"C"}


SAMPLES = ("neither; both are as warm", "sample A", "sample B")


def test_the_text_of_another_option_that_begins_with_a_letter_names_that_option():
    options = ("A bus", "A Toyota", "A dog", "Vitamin C")
    example = Example("", ("",), "A", extra={"options": options})
    assert not think_answer.is_correct("A Toyota", example)
    assert think_answer.is_correct("A Toyota", example._replace(answer="B"))
    assert not think_answer.is_correct("Vitamin C", example._replace(answer="C"))


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("café", "cafe\u0301"), ("cafe\u0301", "café"), ("2", "２"), ("don't", "don’t"),
        ("yes", "yes。"), ("yes", "\u200byes"),
    ],
)  # fmt: skip
def test_one_text_written_in_two_ways_of_unicode_is_equal(gold, answer):
    assert think_answer.is_correct(answer, Example("", ("",), gold))
    assert yes_no.letters_and_digits(answer) == yes_no.letters_and_digits(gold)


@pytest.mark.parametrize(
    ("answer", "letters"),
    [
        ("B. sample A", "B"),
        ("(b) Sample  A.", "B"),
        ("B: sample A", "B"),
        ("The answer is (B) sample A", "B"),
        ("B) sample A, (C) sample B", "BC"),
        ("A. sample B", "AB"),  # another option's text
        ("B. sample AB", "B"),
        ("a, b. sample A", "AB"),
        ("sample A", "B"),  # its text alone
        ("neither; both are as warm", "A"),
        ("B - sample A", "B"),
        ("**B** sample A", "B"),
        ("**B.** sample A", "B"),
        ("[B] sample A", "B"),
        ("B\nsample A", "B"),
        ("sample A (B)", "B"),
        ("B, not C", "B"),
    ],
)
def test_an_option_s_text_after_its_letter_names_no_other(answer, letters):
    assert think_answer.named_options(answer, SAMPLES) == frozenset(letters)
    text, extra = f"<answer>{answer}</answer>", {"options": SAMPLES}
    right = think_answer.is_correct(answer, Example("", ("",), "B", extra=extra))
    scored = metrics.multiple_choice([metrics.Tagged(("B",), text, 3, SAMPLES)])
    assert scored.correct == (right,) == (letters == "B",)


def test_options_with_marks_are_read_as_they_are():
    assert think_answer.named_options("(B) Vitamin C", ("x", "Vitamin C.")) == {"B"}
    assert think_answer.named_options("(B) Vitamin C.", ("x", "Vitamin C.")) == {"B"}
    assert think_answer.named_options("A. (x+y)*", ("(x+y)*", "")) == {"A"}
    assert think_answer.named_options("B.", ("A", "")) == {"B"}


def test_the_point_of_a_decimal_is_no_outer_mark():
    assert [think_answer.normalize(x) for x in (".5", "..5.", ". a.", "...")] == [
        ".5",
        ".5",
        "a",
        "",
    ]
    example = Example("", ("",), ".5")
    assert think_answer.is_correct(".5", example) and not think_answer.is_correct("5", example)


def test_blocks_are_read_as_the_pattern_finds_them():
    text = "</t><t><t>a</t>b</t><t></t><t>\n"
    assert list(think_answer.blocks(text, "t")) == ["<t>a", ""]
    assert think_answer.first_block("<t>a", "t") is None


def test_short_answers_are_compared_without_case_outer_marks_and_doubled_spaces():
    assert think_answer.normalize(" Two  Dogs.") == "two dogs"
    assert think_answer.normalize("U.S.") == "u.s"
