"""The letter that a text states."""

import pytest

from mmcot_jax.answers.letter import option_of, parse_reference, parse_strict

CHAIN = (
    "The colors alternate.\n\n# Option A\nReplacing '?' with red: <image>\nReasoning: it does not "
    "fit. red is unlikely to be the correct answer.\n\n# Option B\nReplacing '?' with blue: "
    "<image>\nReasoning: it matches. blue is a strong candidate for the correct answer.\n\n"
    "# Final Answer:\nBased on the reasoning process, the best fit for the missing color is blue. "
)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("the answer is: (C).", "C"),
        ("the answer is (C)", "C"),
        ("The answer is B because of the pattern", "B"),
        ("ANSWER IS B", "B"),
        ("Final Answer: B", "B"),
        ("# Final Answer:\n(D)", "D"),
        ("# Final Answer\nB", "B"),
        ("the final answer of (D), as we see", "D"),
        ("the correct option is B", "B"),
        ("The best choice: (a)", "A"),
        ("<answer>C</answer>", "C"),
        ("**Answer:** B", "B"),
        ("the answer is 'd'.", "D"),
        ("answer is option b", "B"),
        ("The answer is: green (B)", "B"),
        ("the answer is 4.5 (B)", "B"),
        ("the answer to the question is (B)", "B"),
        ("(B) is the correct answer.", "B"),
        ("Option C is the right choice", "C"),
        ("the answer is A: red, B: blue was wrong", "A"),
        ("the answer is A because it fits", "A"),
        ("The answer is: I would choose (B).", "B"),
        ("the answer is, I think, (B)", "B"),
        (r"The answer is $\boxed{B}$.", "B"),
        (r"So we get \boxed{\text{(B)}}", "B"),
        ("The answer is the letter B", "B"),
        ("Answer — B", "B"),
        ("The answer is not (A). The answer is (B).", "B"),
        ("The answer is (A). The answer is not (B).", "A"),
        ("The answer is not (A). The answer is (A).", "A"),
        ("**B** is the correct answer", "B"),
        ("Answer: __B__", "B"),
        ("the answer is (**B**)", "B"),
        ("The answer is：Ｂ", "B"),
        ("Therefore, among (A) (B) (C) (D), the answer is: (B).", "B"),
        (CHAIN + "Therefore, among (A) (B) (C) (D), the answer is: (B).", "B"),
    ],
)
def test_a_stated_answer_is_read(text, letter):
    assert parse_strict(text) == letter


@pytest.mark.parametrize(
    "text",
    [
        "",
        "(B)",
        "the answer is a mystery.",
        "my final answer: because",
        "Final Answer: Based on the pattern",
        "The final answer to the question",
        "The answer is A-frame",
        "Final answer: A car is coming",
        "the answer is I think red",
        "the answer is (A) or (B)",
        "the answer is A or B",
        "the answer is among (A) (B) (C) (D)",
        "the answer is not (B)",
        "the answer isn't B",
        "The answer is neither (A) nor (B), it is (C)",
        "The answer is never (A)",
        "The answer is unlikely to be (B)",
        "The answer is anything but (B)",
        "The answer is different from (A)",
        "I think the answer is (A). No wait, the answer is not (A).",
        "The answer is (A). Wait, the answer isn't (A).",
        "The answer is A. The answer cannot be A.",
        "The answer is (A)? No, it is (C).",
        "the answer is unclear! (A) fits",
        "is unlikely to be the correct answer.\n\n# Option B",
        CHAIN,
    ],
)
def test_a_text_without_a_statement_has_no_letter(text):
    assert parse_strict(text) is None


def test_the_last_statement_wins():
    assert parse_strict("The answer is: (A). No: the answer is: (C).") == "C"
    assert parse_strict("the answer is a mystery. Final answer: B") == "B"
    assert parse_strict("Answer: A\nB is wrong, and (C) too.") == "A"


def test_a_letter_beyond_the_options_is_no_answer():
    assert parse_strict("the answer is: (D).", options=4) == "D"
    assert parse_strict("the answer is: (D).", options=3) is None
    assert parse_strict("the answer is: (E).", options=5) == "E"
    assert parse_strict("The answer is (A). The answer is (D).", options=3) is None
    assert parse_strict("The answer is I because it fits", options=9) == "I"


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("the answer is: (C).", "C"),
        ("the answer is: (A). the answer is: (C).", "A"),
        ("the answer is a mystery. Final answer: B", "a"),
        ("The answer is: green (B)", None),
        ("my final answer: because", "b"),
        ("# Final Answer:\nBased on the reasoning process", "B"),
        ("Final answer: A, so the\nanswer\n is: (C)", "C"),
        ("the correct choice: (D)", "D"),
        ("is the correct answer. So", None),
        ("the answer is: (E)", None),
    ],
)
def test_the_reference_parser_keeps_the_studys_rules(text, letter):
    assert parse_reference(text) == letter


def test_a_letter_names_an_option_only_in_upper_case_and_in_range():
    assert option_of("B", ("red", "blue")) == "blue"
    assert option_of("b", ("red", "blue")) == ""
    assert option_of("C", ("red", "blue")) == ""
    assert option_of(None, ("red", "blue")) == ""
