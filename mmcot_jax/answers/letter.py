"""Reads the letter that a reply to a multiple-choice question states."""

import re
import string
from collections.abc import Sequence

LETTERS = string.ascii_uppercase
"""Names of the options, in their order."""

HALF_WIDTH = {0xFF01 + i: 0x21 + i for i in range(94)}
"""For `str.translate`: full-width letters and marks, as in Chinese text, to ASCII."""

# "A car is", "I would": the article and the pronoun. "A is", "I because": letters.
NO_LETTER = r"(?!a\s++\w|[AIi]\s++(?!(?:and|are|as|because|but|for|is|or|since|was|with)\b)[a-z])"

# No part gives back what it took (`*+`, `++`), or it is short: the time is linear in the text.
# A letter stands alone: not the B of "Based", not the a of "a mystery", not one of "(A) (B) (C)".
_BARE = rf"(?<![^\W_]){NO_LETTER}([A-Za-z])(?![^\W_]|[-'’]\w)"
_ROUND = r"\([\s*_]*+([A-Za-z])[\s*_]*+\)"
_ONE_OF_MANY = r"(?!\s*+\?|(?:[,/& ]|and\b|or\b)*+\([A-Za-z]\)| *+(?:[,/&]|and\b|or\b) *+[A-Z]\b)"
# `is: **`, `:`, ` = `, `>`; a full stop or a new heading ends the statement.
_IS = r"[\s*_]*+(?:(?i:(?:is|was|(?:would|should|must)\s++be)\b)|[:=>–—-])"
_NO_WORD = r"(?:[^\w.!?;#(]++|_++)*+"
_NOISE = rf"{_NO_WORD}(?:(?i:(?:the\s++)?+(?:option|choice|letter))\b{_NO_WORD})?+"
_DENIED = r"\b(?i:not|nor?|neither|never|unlikely|except|anything\s++but|different\s++from)\b"
# "is: green (B)": the option's words may come before its letter.
_WORDS = rf"(?:(?!{_DENIED})(?:[^().!?;\n]|\.\d)){{0,60}}+"
_ABOUT = r"\s++(?:to|for|of)(?=\s)(?:\s[^().!?;:\n]{0,60}?(?<![\s*_]))??"
_CUE = rf"(?i:\banswer|\b(?:correct|right|best)\s++(?:option|choice))(?:{_ABOUT})?{_IS}"
_AFTER = (
    rf"(?:{_CUE}{_NOISE}(?:{_BARE}|{_WORDS}{_ROUND})"
    rf"|(?i:\bfinal\s++answer)(?:\s++of\b)?+{_NOISE}(?:{_BARE}|{_ROUND})){_ONE_OF_MANY}"
)
_BEFORE = (
    r"(?:(?<![\w'’(])([A-Z])|\(\s*+([A-Za-z])\s*+\))[*_]*+\s++(?i:is)\s++(?i:the)\s++"
    r"(?i:(?:correct|right|best|final)\s++)*+(?i:answer|option|choice)\b(?!\s*+[:=])"
)
_STATEMENT = re.compile(rf"{_AFTER}|{_BEFORE}")
_IS_NOT = r"(?i:\b(?:answer|option|choice)\s++(?:isn['’]t|wasn['’]t|can['’]t\s++be|cannot\s++be)\b)"
_DENIAL = re.compile(
    rf"(?:{_CUE}[^().!?;\n]{{0,40}}?{_DENIED}|{_IS_NOT}){_NO_WORD}(?:{_BARE}|{_ROUND})"
)
_BOXED = re.compile(
    r"\\boxed\s*+\{(?:\s*+\\(?:text|textbf|mathrm)\s*+\{)?+\s*+\(?+([A-Za-z])\)?+\s*+\}"
)


def parse_strict(text: str, options: int = 4) -> str | None:
    """Returns the last stated answer as an upper-case letter, or None.

    Statements: "the answer is: (C).", "Final Answer: B", "answer is d", "The answer is: green
    (B)", "(B) is the correct answer", "\\boxed{B}". No statements: letters inside words ("Final
    Answer: Based on"), the article and the pronoun ("a mystery", "I think"), several letters at
    once ("is (A) or (B)"), questions, negations; "the answer is not (A)" takes an earlier A back.
    Returns None too if the last stated letter is beyond the number of `options`.
    """
    text = _BOXED.sub(r"the answer is: (\1)", text.translate(HALF_WIDTH))
    denied = {_letter(found): found.start() for found in _DENIAL.finditer(text)}
    letters = [
        letter
        for statement in _STATEMENT.finditer(text)
        if statement.start() > denied.get(letter := _letter(statement), -1)
    ]
    return letters[-1] if letters and LETTERS.index(letters[-1]) < options else None


def _letter(found: re.Match[str]) -> str:
    return next(filter(None, found.groups())).upper()


_REFERENCE = tuple(
    re.compile(pattern + r"[:\-]?\s*\(?([A-D])\)?", re.IGNORECASE)
    for pattern in (r"answer\s*is", r"final\s*answer", r"correct\s*(?:option|choice|answer)")
)


def parse_reference(text: str) -> str | None:
    """Returns the letter that the study's scoring reads, in the case it has in the text.

    `text` is the prompt and the reply. The first of three patterns that matches anywhere decides,
    by its first match, also inside a word: "Final Answer: Based on" gives B. Unchanged from the
    study, to compare with its numbers.
    """
    text = " ".join(text.split())
    for pattern in _REFERENCE:
        if found := pattern.search(text):
            return found[1]
    return None


def option_of(letter: str | None, options: Sequence[str]) -> str:
    """Returns the option of an upper-case letter, or "" if it names none."""
    number = LETTERS.find(letter) if letter else -1
    return options[number] if 0 <= number < len(options) else ""
