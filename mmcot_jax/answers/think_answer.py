"""Reads replies that think in <think> and answer in <answer>."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from mmcot_jax.answers.letter import HALF_WIDTH, LETTERS, NO_LETTER
from mmcot_jax.example import Example

# "B", "(b)", "b) red", "option b", but not the A of "A dog" and "(C) A Toyota", the I of "I'm",
# the C of "20 °C"
_TITLE = r"(?!(?<=[A-Za-z][.:)]\s)A\s++[A-Z][a-z])"
_LETTER = re.compile(
    r"(?<![Nn][Oo][Tt] )\(\s*+([A-Za-z])\s*+\)"
    rf"|(?<![^\W_])(?<!°)(?<![Nn][Oo][Tt] ){NO_LETTER}{_TITLE}([A-Z])(?![^\W_]|['’]\w|-[a-z0-9])"
    r"|^[ \t]*+([a-z])[).:](?!\S)|(?i:\b(?:option|choice|letter))\s++(?!a\s++\w)([a-z])\b",
    re.MULTILINE,
)
_SMALL = r"\(?[a-z]\)?"
_LOWER_CASE = re.compile(
    rf"\s*+{_SMALL}(?:\s*+(?:[,;/&]|\b(?:and|or)\b)\s*+{_SMALL})*+\s*+[.,;:]?+\s*+"
)
# marks around an answer, but not the point of ".5"
_OUTER = re.compile(r"""^(?:[,;:!?"'`。 ]|\.(?!\d))++|(?<![.,;:!?"'`。 ])[.,;:!?"'`。 ]++$""")
_STRAIGHT = str.maketrans("‘’“”", "''\"\"")


def blocks(text: str, tag: str) -> Iterator[str]:
    """Yields the content of each `<tag>...</tag>`, from left to right.

    As the pattern `<tag>(.*?)</tag>` finds them. The pattern reads the rest of the text again for
    every `<tag>` without an end: 30,000 of them took half a minute.
    """
    opening, closing, end = f"<{tag}>", f"</{tag}>", 0
    while (start := text.find(opening, end)) >= 0:
        start += len(opening)
        stop = text.find(closing, start)
        if stop < 0:
            return
        yield text[start:stop]
        end = stop + len(closing)


def first_block(text: str, tag: str) -> str | None:
    """Returns the content of the first `<tag>...</tag>`, or None without one."""
    return next(blocks(text, tag), None)


def read_thought(text: str) -> str:
    """Returns the content of the first closed <think>, or "" without one."""
    return first_block(text, "think") or ""


def read_answer(text: str) -> str | None:
    """Returns the content of the first closed <answer>, stripped, or None without one."""
    answer = first_block(text, "answer")
    return None if answer is None else answer.strip()


def option_letters(answer: str, options: int) -> frozenset[str]:
    """Returns which of the letters of `options` an answer names.

    {B, C} of "B, C", "(c) and (B)", "b,c", "**B**/C" and "B C."; {C} of "(C) I would wait.".
    """
    answer = answer.translate(HALF_WIDTH)
    if _LOWER_CASE.fullmatch(answer):
        named = {word.upper() for word in re.split(r"[^a-z]+", answer) if len(word) == 1}
    else:
        named = {"".join(found).upper() for found in _LETTER.findall(answer)}
    return frozenset(named & set(LETTERS[:options]))


def named_options(answer: str, choices: Sequence[str]) -> frozenset[str]:
    """Returns which letters an answer names, as `option_letters`, by the texts of the options too.

    An option's text alone names it. Beside its own letter it names nothing more: {B} of
    "(B) Vitamin C", "B - Vitamin C", "**B** Vitamin C" and "Vitamin C (B)" if that is option B.
    """
    texts = [normalize(choice) for choice in choices]
    if texts.count(whole := normalize(answer)) == 1 and len(whole) > 1:
        return frozenset(LETTERS[texts.index(whole)])
    answer = answer.translate(HALF_WIDTH)
    for letter, text in zip(LETTERS, choices, strict=False):
        if words := r"\s{1,9}".join(map(re.escape, text.rstrip(".,;:!? ").split())):
            # bounded, so that the time is linear in the text
            before = rf"[(\[*_]{{0,4}}({letter})[)\]*_]{{0,4}}\s{{0,9}}"
            before += rf"[.:,–—-]?[)*_]{{0,4}}\s{{0,9}}{words}"
            after = rf"{words}\s{{0,9}}[(\[*_]{{1,4}}({letter})[)\]*_]{{1,4}}"
            quoted = rf"(?<![^\W_])(?:{before}|{after})(?![^\W_])"
            answer = re.sub(
                quoted, lambda found: f"({found[1] or found[2]})", answer, flags=re.IGNORECASE
            )
    return option_letters(answer, len(choices))


def plain_text(text: str) -> str:
    """Returns a text in Unicode's form NFKC, with straight quotes and without invisible marks.

    One letter may be written as one character or two ("é"), a digit in full width.
    """
    text = unicodedata.normalize("NFKC", text).translate(_STRAIGHT)
    return "".join(c for c in text if unicodedata.category(c) != "Cf")


def normalize(answer: str) -> str:
    """Returns a short answer in lower case, without outer marks and doubled spaces.

    " Two  Dogs." becomes "two dogs". The point of ".5" stays. Characters are those of `plain_text`.
    """
    return _OUTER.sub("", " ".join(plain_text(answer).lower().split()))


def right_answers(example: Example) -> tuple[str, ...]:
    """Returns the right short answers, `extra["possible_answers"]` or the example's answer."""
    return tuple(example.extra.get("possible_answers", (example.answer,)))


def is_correct(answer: str | None, example: Example) -> bool:
    """Returns whether an answer names the right set of letters, or is a right short answer.

    Raises:
        ValueError: the example's answer names none of its options, or it has no short answer.
    """
    options: Sequence[str] = example.extra.get("options", ())
    if options:
        right = option_letters(example.answer, len(LETTERS))
        if not right or not right <= set(LETTERS[: len(options)]):
            raise ValueError(
                f"example {example.id!r} has the answer {example.answer!r} and {len(options)} "
                "options; give extra['options'] and the letters of one or more of them"
            )
        return answer is not None and named_options(answer, options) == right
    possible = right_answers(example)
    right = {normalize(one) for one in possible} - {""}
    if not right:
        raise ValueError(f"example {example.id!r} has no answer: {list(possible)!r}; give one")
    return answer is not None and normalize(answer) in right
