"""A kind of puzzle: its scene, the templates of its words, how it is sampled, drawn and parsed."""

import random
from collections.abc import Callable, Mapping
from string import Formatter
from typing import Any, NamedTuple

import numpy as np

from mmcot_jax.answers.caption import WORD
from mmcot_jax.tasks.puzzlevqa import words
from mmcot_jax.tasks.puzzlevqa.words import MISSING, Label


class Scene(NamedTuple):
    """The parameters of one puzzle: its words and its picture depend on nothing else. Hashable."""

    values: tuple[Label, ...]
    """The property in question, one value a part: numbers, colours, sizes or shapes."""
    missing: int
    """Index of the missing part."""
    options: tuple[str, ...]
    attributes: tuple[Label, ...] = ()
    """A second property of each part, such as the lengths that the colours depend on."""
    extra: tuple[Label, ...] = ()
    """Other parameters of a kind, such as the order in which its explanation names the colours."""
    shown: str = MISSING
    """Label of the missing part: `?` or an option."""

    @property
    def answer(self) -> str:
        """The right option."""
        return str(self.values[self.missing])

    @property
    def labels(self) -> list[Label]:
        """The values as the picture shows them."""
        value = self.values[self.missing]
        shown = self.shown if self.shown == MISSING else type(value)(self.shown)
        return [*self.values[: self.missing], shown, *self.values[self.missing + 1 :]]

    def fill(self, option: str) -> "Scene":
        """Returns the scene with `?` replaced by an option.

        Raises:
            ValueError: the puzzle has no such option.
        """
        words.check_option(option, self.options)
        return self._replace(shown=option)


class Wording(NamedTuple):
    """The texts of a puzzle, with the field names of a released record."""

    question: str
    options: tuple[str, ...]
    answer: str
    caption: str
    explanation: str
    deduction: str


class Reasoning(NamedTuple):
    """The texts of the chain that judges each option."""

    wrong: str
    """Judgement of a wrong option, without the closing sentence that names it."""
    right: str
    """Judgement of the right option, in the same form."""
    thing: str
    """Noun for the missing part, as in "the best fit for the missing {thing}"."""
    pattern: str
    """The start of the conclusion: "The pattern that ... holds consistently"."""


class Templates(NamedTuple):
    """The words of a kind, for `str.format`.

    All have the fields of `Kind.fields` and `{answer}`; all but `rule` also `{rule}`, `{thing}`.
    """

    caption: str
    explanation: str
    deduction: str
    rule: str
    """The pattern as a clause: "each shape appears with a distinct size"."""
    thing: str = ""
    """Noun for the missing part: "number", "color", "circle", ..."""
    compared: str = ""
    """The things an option's judgement compares; empty if the kind has no multimodal chain."""
    relation: str = ""
    """Name of the pattern in that judgement, such as "color-length"."""
    match: str = ""
    """Object of "matches well the ..." for the right option; "{relation} pattern" by default."""
    conclusion: str = "The pattern that {rule} holds consistently"
    question: str = "What is the missing {thing} of the part denoted with a question mark?"


def parse_scene(
    labels: list[Label],
    record: Mapping[str, Any],
    attributes: tuple[Label, ...] = (),
    extra: tuple[Label, ...] = (),
) -> Scene:
    """Builds a scene from the labels of its parts, `?` among them, and the record's answer.

    Raises:
        ValueError: the answer is not among the options.
    """
    options = words.record_options(record)
    missing = labels.index(MISSING)
    known = labels[missing - 1]  # an int where the values are numbers
    values = (*labels[:missing], type(known)(record["answer"]), *labels[missing + 1 :])
    return Scene(values, missing, options, attributes, extra)


def parse_lists(
    caption: Mapping[str, Any], record: Mapping[str, Any], *, attributes: str = ""
) -> Scene:
    """Builds a scene from the lists of a caption: labels, one list after another.

    `attributes` is the field whose list has attributes instead.
    """
    lists = {name: value for name, value in caption.items() if isinstance(value, list)}
    properties = tuple(lists.pop(attributes, ()))
    return parse_scene([label for labels in lists.values() for label in labels], record, properties)


class Kind(NamedTuple):
    """One of the twenty kinds of PuzzleVQA (arXiv 2403.13315)."""

    name: str
    """The name of its file."""
    templates: Templates
    sample: Callable[[random.Random], Scene]
    """Draws the parameters of one puzzle, options included."""
    fields: Callable[[Scene], Mapping[str, Any]]
    """Values for the fields of the templates."""
    draw: Callable[[Scene, int], np.ndarray]
    """(scene, size) -> uint8 [size size 3]; geometry scales with size / 512."""
    parse_fields: Callable[[Mapping[str, Any], Mapping[str, Any]], Scene] = parse_lists
    """(fields of the caption, record) -> scene."""
    original: Templates | None = None
    """The study's templates, where they differ from ours (two kinds)."""

    @property
    def multimodal(self) -> bool:
        """True if the caption determines the picture, so that options can be drawn into it."""
        return bool(self.templates.compared)

    def word(self, scene: Scene) -> Wording:
        """Writes the texts of a puzzle."""
        t, fields = self.templates, self._all_fields(scene, self.templates)
        return Wording(
            question=t.question.format(**fields),
            options=scene.options,
            answer=scene.answer,
            caption=t.caption.format(**fields),
            explanation=t.explanation.format(**fields),
            deduction=t.deduction.format(**fields),
        )

    def reasoning(self, scene: Scene, wording: str = "corrected") -> Reasoning:
        """Writes the judgements of options; `wording` "original" gives the study's."""
        t = (self.original if wording == "original" else None) or self.templates
        compared = f"Comparing {t.compared}, it"
        pattern = f"{t.relation} pattern".lstrip()
        match = t.match or f"{t.relation or 'observed'} pattern"
        return Reasoning(
            wrong=f"{compared} does not fit the observed {pattern}.",
            right=f"{compared} matches well the {match}.",
            thing=t.thing,
            pattern=t.conclusion.format(**self._all_fields(scene, t)),
        )

    def facts(self, scene: Scene) -> tuple[str, ...]:
        """Returns the words of a scene's caption that its template leaves open, in order."""
        fields = self._all_fields(scene, self.templates)
        names = [name for _, name, *_ in Formatter().parse(self.templates.caption) if name]
        return tuple(WORD.findall(" ".join(str(fields[name]) for name in names)))

    def parse(self, record: Mapping[str, Any]) -> Scene:
        """Returns the scene of a released record, or of a wording as a dict.

        Raises:
            ValueError: the record is of another kind, or its answer is not among its options.
        """
        return self.parse_fields(words.parse(self.templates.caption, record["caption"]), record)

    def _all_fields(self, scene: Scene, templates: Templates) -> dict[str, Any]:
        fields = {**self.fields(scene), "answer": scene.answer}
        return {**fields, "rule": templates.rule.format(**fields), "thing": templates.thing}
