"""What the tasks of published benchmarks share: options, human answers, the study's subsets.

The study asked 2,000 questions of LLaVA's question files and compared with LLaVA's answers. Both
files are options, and the human answers stay beside: `llava_questions` has a benchmark's questions
in LLaVA's order and words, `llava_answers` LLaVA's replies to them.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmcot_jax.boxes import Sight
from mmcot_jax.errors import check_choice
from mmcot_jax.tasks import _grounded as grounded
from mmcot_jax.tasks import _images as images
from mmcot_jax.tasks import _records as records
from mmcot_jax.tasks import _schema as schema
from mmcot_jax.tasks import _sources as sources
from mmcot_jax.tasks._grounded import SIGHT, Examples, Style
from mmcot_jax.tasks._records import MAX_BAD, Gate, Record, T
from mmcot_jax.tasks._schema import BadRecord
from mmcot_jax.tasks._sources import Fields, Picture, Raw

SHORT = "\nAnswer the question using a single word or phrase."
"""LLaVA's instruction for short answers, and the study's."""
SUBSETS = ("all", "study")
STUDY_COUNT, STUDY_SEED = 2000, 42
FindPicture = Callable[[str], Picture]
"""Returns the picture of a file's name."""


class Options(NamedTuple):
    """The options that all benchmarks share."""

    form: str = "open"
    """"open": a chain and an answer in tags; "plain": an answer alone; "options": letters."""
    boxes: bool = True
    frame: str = "resized"
    sight: Sight = SIGHT
    instruction: str = SHORT
    """Text after the question; the questions of `llava_questions` have their own."""
    subset: str = "all"
    """"study": the 2,000 questions that the study's seed 42 draws from the file's order."""
    count: int = 0
    """Number of questions, the first ones; 0 for all."""
    llava_questions: str = ""
    """LLaVA's question file; "" for the questions of the release."""
    llava_answers: str = ""
    """LLaVA's answers to these questions."""
    on_bad_record: str = "raise"
    max_bad: float = MAX_BAD
    max_image_pixels: int = images.MAX_PIXELS

    @property
    def style(self) -> Style:
        """The style of the prompts."""
        return Style(self.form, self.boxes, self.frame, self.sight)

    @property
    def gate(self) -> Gate:
        """What becomes of bad records."""
        return Gate(self.on_bad_record, self.max_bad, self.max_image_pixels)

    def check(self, forms: Sequence[str] = ("open", "plain"), *, needs_llava: str = "") -> None:
        """Checks the options.

        Args:
            forms: those that the benchmark has.
            needs_llava: the name of a split without public answers.

        Raises:
            ValueError: an unknown name, or options that do not fit together.
        """
        check_choice("form", self.form, forms)
        self.style.check()
        check_choice("subset", self.subset, SUBSETS)
        if self.llava_answers and not self.llava_questions:
            raise ValueError(
                f"llava_answers is {self.llava_answers!r} and llava_questions is not given; give "
                "the question file that these answers belong to"
            )
        if needs_llava and not self.llava_answers:
            raise ValueError(
                f"{needs_llava} has no public answers; give a split that has, or llava_questions "
                "and llava_answers to measure agreement with LLaVA's"
            )


class Benchmark(NamedTuple):
    """How a benchmark's records are read."""

    name: str
    read: Callable[[Raw], Record]
    """Reads a record of the release; its `extra` is that of `extra_of`."""
    picture: FindPicture
    extra: Mapping[str, Any] = {}
    """Fields of every example's `extra`."""
    has_categories: bool = False
    """True if LLaVA's `category` of a question is its `kind` here."""


def extra_of(
    question_id: Any,
    image: str,
    human_answers: Sequence[str],
    groups: Mapping[str, str | Sequence[str]],
    **more: Any,
) -> dict[str, Any]:
    """Returns the `extra` of a record: what its evaluator needs, and how LLaVA's files name it."""
    return {
        "question_id": str(question_id),
        "image": image,
        "human_answers": tuple(human_answers),
        "groups": dict(groups),
        "llava_answers": {},
        **more,
    }


# ---- human answers -------------------------------------------------------------------------------


def human_answers(value: Any, name: str) -> tuple[str, ...]:
    """Reads human answers: texts, objects with an `answer`, or an object of lists, as `datasets`.

    Blank answers count as answers, as they do in the official scores.

    Raises:
        BadRecord: none of these.
    """
    if isinstance(value, Mapping):
        value = schema.read(value, {"answer": schema.list_of(schema.string)})["answer"]
    given = schema.list_of(lambda item, _: item)(value, name)
    texts = [item.get("answer") if isinstance(item, Mapping) else item for item in given]
    return tuple(schema.string(text, f"{name}[{n}]") for n, text in enumerate(texts))


def ranked(answers: Sequence[str]) -> tuple[str, ...]:
    """Returns the different answers that are not blank, the most frequent first."""
    counts = Counter(answer for answer in answers if answer.strip())
    return tuple(answer for answer, _ in counts.most_common())


# ---- files ---------------------------------------------------------------------------------------


def find_file(source: str, names: Sequence[str]) -> Path | None:
    """Returns the first of the files that is in a folder, or None."""
    return next((p for name in names if (p := Path(source) / name).is_file()), None)


def file_rows(
    source: str, names: Sequence[str], split: str, options: Options
) -> tuple[Path | None, Iterable[Raw]]:
    """Returns the file of a release and no rows, or None and the rows of a data set.

    Neither is needed if the questions are LLaVA's.

    Raises:
        ValueError: as `_sources.load_split`.
    """
    if file := find_file(source, names):
        return file, ()
    folder = Path(sources.find_cached(source))
    if sources.is_local(str(folder)) and not sources.holds_tables(folder):
        return None, () if options.llava_questions else sources.from_file(folder / names[0])
    return None, sources.load_split(source, names[0], split)


def read_list(file: Path, field: str) -> Any:
    """Returns the list in a field of a JSON file, or the file's value if that is a list.

    Raises:
        ValueError: no JSON, or no such field.
    """
    content = sources.read_json(file)
    if isinstance(content, Mapping) and field not in content:
        raise ValueError(
            f"{file} has no field {field!r}; it has {', '.join(map(str, list(content)[:10]))}: "
            "give it as it was released"
        )
    return content[field] if isinstance(content, Mapping) else content


def picture_in(folders: Sequence[Path]) -> FindPicture:
    """Returns what finds a picture's file by its name, in the first of the folders that has it."""

    def find(name: str) -> Picture:
        images.find(folders[0], name)  # a name that leads out of one leads out of all
        return lambda: images.first(folders, name)

    return find


def image_name(row: Raw, field: str) -> str:
    """Returns the name of a picture's file: of the release's `image`, or a data set's `field`.

    Raises:
        BadRecord: the record has none.
    """
    if row.picture is None:
        return schema.read(row.fields, {"image": schema.text})["image"]
    return f"{Path(schema.read(row.fields, {field: schema.text})[field]).stem}.jpg"


# ---- examples ------------------------------------------------------------------------------------


def examples(benchmark: Benchmark, rows: Iterable[Raw], options: Options, split: str) -> Examples:
    """Returns the examples of a release's rows, or of LLaVA's questions about them.

    Raises:
        ValueError: as `_grounded.collect`, a file of LLaVA that is not there, too few records.
    """
    if options.llava_questions:
        asked = sources.from_file(Path(options.llava_questions), lines=True)
        read = _ask(benchmark, _official(benchmark, rows, options), options)
        drawn = draw(list(asked), options.subset)
    else:
        read = _instruct(benchmark, options)
        drawn = rows if options.subset == "all" else draw(list(rows), options.subset)
    return finish(drawn, unique(read), options, split)


def finish(
    rows: Iterable[Raw], read: Callable[[Raw], Record | None], options: Options, split: str
) -> Examples:
    """Returns the examples of rows; raises as `_grounded.collect` and `_records.limit`."""
    found = grounded.collect(rows, read, options.style, options.gate)
    whole = {"reads_whole_reply": options.form == "plain"}
    return Examples(records.limit(found, options.count, split), options.style, lambda _: whole)


def draw(items: Sequence[T], subset: str) -> Sequence[T]:
    """Returns all items, or the study's draw from them, in its order."""
    if subset == "all":
        return items
    return random.Random(STUDY_SEED).sample(items, min(STUDY_COUNT, len(items)))


def _instruct(benchmark: Benchmark, options: Options) -> Callable[[Raw], Record]:
    def read(row: Raw) -> Record:
        record = benchmark.read(row)
        question = record.questions[0] + options.instruction
        return record._replace(questions=(question,), extra={**benchmark.extra, **record.extra})

    return read


def unique(read: Callable[[Raw], Record | None]) -> Callable[[Raw], Record | None]:
    """Returns a reader that raises `BadRecord` at the second record of one id."""
    seen: dict[str, str] = {}

    def read_once(row: Raw) -> Record | None:
        record = read(row)
        if record is not None and record.id in seen:
            raise BadRecord(
                f"has the id {schema.show(record.id)} of record {seen[record.id]!r} before it; "
                "give each question once",
                "with the id of an earlier one",
            )
        if record is not None:
            seen[record.id] = row.name
        return record

    return read_once


# ---- LLaVA's files -------------------------------------------------------------------------------

ASKED = {
    "question_id": schema.text_or_number,
    "image": schema.text,
    "text": schema.text,
    "category": schema.optional(schema.text, ""),
}
ANSWER = {
    "question_id": schema.text_or_number,
    "text": schema.string,
    "prompt": schema.optional(schema.string, ""),
}
Key = tuple[str, str, str]


class Llava(NamedTuple):
    """LLaVA's answers."""

    by_id: Mapping[str, str] = {}
    """Of several answers with one id the last, as the study read them."""
    by_prompt: Mapping[tuple[str, str], str] = {}
    """(id, prompt) -> answer: TextVQA's ids are those of images, with several questions each."""

    def find(self, id: str, prompt: str) -> dict[str, str]:
        """Returns the answers to a question: the study's, "reference", and its own, "strict"."""
        if id not in self.by_id:
            return {}
        reference = self.by_id[id]
        return {"reference": reference, "strict": self.by_prompt.get((id, prompt), reference)}


def read_llava(path: str) -> Llava:
    """Reads LLaVA's answers, JSON lines; "" for none.

    Raises:
        ValueError: no such file, or a line that is no answer; names file and line.
    """
    by_id: dict[str, str] = {}
    by_prompt: dict[tuple[str, str], str] = {}

    def read(row: Raw) -> bool:
        found = schema.read(row.fields, ANSWER)
        by_id[found["question_id"]] = found["text"]
        by_prompt[found["question_id"], found["prompt"]] = found["text"]
        return True

    if path:
        records.collect(sources.from_file(Path(path), lines=True), read, records.RAISE)
    return Llava(by_id, by_prompt)


def _key(kind: str, image: str, question: str) -> Key:
    """Returns what LLaVA's files and a release have in common: their ids differ."""
    return kind, Path(image).stem, question.partition("\n")[0].strip().lower()


def _official(
    benchmark: Benchmark, rows: Iterable[Raw], options: Options
) -> dict[Key, list[Record]]:
    """Returns the records of a release by their keys; a question may be asked twice of an image."""
    rows = list(rows)
    # pictures are checked when they are asked about
    read = records.collect(rows, benchmark.read, options.gate) if rows else []
    found: dict[Key, list[Record]] = {}
    for record in read:
        kind = record.extra["kind"] if benchmark.has_categories else ""
        key = _key(kind, record.extra["image"], record.questions[0])
        found.setdefault(key, []).append(record)
    return found


def _ask(
    benchmark: Benchmark, official: Mapping[Key, list[Record]], options: Options
) -> Callable[[Raw], Record]:
    """Returns what reads a question of LLaVA's file, with the human answers of the release."""
    llava = read_llava(options.llava_answers)

    def read(row: Raw) -> Record:
        found = schema.read(row.fields, ASKED)
        kind = found["category"] if benchmark.has_categories else ""
        same = official.get(_key(kind, found["image"], found["text"]))
        record = same.pop(0) if same else None
        answers = llava.find(found["question_id"], found["text"])
        record = record or _unanswered(benchmark, found, kind)
        if not (record.possible_answers or answers):
            raise BadRecord(
                f"asks the question {schema.show(found['question_id'])}, to which neither the "
                "release nor llava_answers has an answer; give the files of one split",
                "without an answer",
            )
        right = record.possible_answers or (answers["strict"],)
        extra = {**benchmark.extra, **record.extra, "llava_answers": answers}
        # several questions of one image have one id in LLaVA's file of TextVQA
        id = record.id if record.possible_answers else f"{record.id}/{row.name}"
        return record._replace(
            id=id, questions=(found["text"],), possible_answers=right, extra=extra
        )

    return read


def _unanswered(benchmark: Benchmark, found: Fields, kind: str) -> Record:
    """Returns the record of a question of LLaVA's file that the release does not answer."""
    extra = extra_of(
        found["question_id"], found["image"], (), {}, **({"kind": kind} if kind else {})
    )
    return Record(
        id=f"{benchmark.name}/{found['question_id']}",
        picture=benchmark.picture(found["image"]),
        size=None,
        questions=(found["text"],),
        extra=extra | ({"kind": kind} if kind else {}),
    )
