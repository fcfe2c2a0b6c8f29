"""ReSQ's records, the study's prompts, scenes for the image generator, refused input."""

import csv
import json

import datasets
import numpy as np
import pytest
from PIL import Image

from mmcot_jax.example import Reply
from mmcot_jax.rewards import chains
from mmcot_jax.tasks import resq

STORY = {
    "story": ["a cat is on a mat .", "a dog sits left of it .", "the sun shines ."],
    "questions": [
        {"question": "Is the cat on the mat?", "answer": ["Yes"], "candidate_answers":
         ["Yes", "No"], "num_1st_context_sentences": 1},
        {"question": "Is the dog on the cat?", "answer": ["No"], "candidate_answers":
         ["Yes", "No"], "num_1st_context_sentences": 2},
    ],
}  # fmt: skip

MULTIMODAL = (
    "USER: I now describe a scene and ask a question about it. First, generate an image that "
    "helps visualize the scene described. Then, think about the reasoning process in the mind and "
    "then provide with the final answer. The final answer is either one of ['Yes', 'No']. The "
    "image and reasoning process are enclosed within <think> </think> tags, while the final answer "
    "is enclosed within <answer> </answer> tags, i.e., <think> image and the textual reasoning "
    "process here </think> <answer> the final answer here </answer>.\n"
    "a cat is on a mat . a dog sits left of it . Is the dog on the cat?\nASSISTANT:"
)
TEXTUAL = (
    "USER: I now describe a scene and ask a question about it. First, think about the reasoning "
    "process in the mind and then provide with the final answer. The final answer is either one "
    "of ['Yes', 'No']. The reasoning process and the final answer are enclosed within <think> "
    "</think> and <answer> </answer> tags, respectively, i.e., <think> reasoning process here "
    "</think> <answer> the final answer here </answer>.\n"
    "a cat is on a mat . Is the cat on the mat?\nASSISTANT:"
)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "resq"
    path.mkdir()
    (path / "train_resq.json").write_text(json.dumps({"name": "ReSQ", "data": [STORY]}))
    return path


@pytest.mark.reference
def test_the_released_files_have_1008_and_333_questions(reference):
    source = str(reference / "data" / "resq")
    train, validation = (resq.load(source, split=s) for s in ("train", "validation"))
    assert (len(train), len(validation)) == (1008, 333)
    assert sum(e.answer == "Yes" for e in train) == 503
    assert train[1].extra["scene"].endswith("and a yellow sleveless top .")
    assert train[1].extra["question"] == "Are the shorts touching the yellow thing?"
    assert len({e.id for e in train + validation}) == 1341


def test_a_prompt_is_the_studys_and_holds_the_sentences_of_its_question(folder):
    (_, second) = resq.load(str(folder))
    assert second.prompt == (MULTIMODAL,)
    assert (second.id, second.answer, second.rationale) == ("resq/train/0001", "No", ())
    assert second.extra["scene"] == "a cat is on a mat . a dog sits left of it ."
    assert second.extra["candidate_answers"] == ("Yes", "No")
    assert resq.load(str(folder), prompt="textual", count=1)[0].prompt == (TEXTUAL,)


def test_a_given_image_replaces_the_scene_and_follows_the_prefill(folder):
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    Image.fromarray(pixels).save(folder / "two.png")
    Image.fromarray(pixels[::-1]).save(folder / "one.png")
    with (folder / "drawn.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["scene", "image"])
        table.writerow(["a cat is on a mat . a dog sits left of it .", "the painter was busy"])
        table.writerow(["A cat is on a mat . a dog sits left of it .", "two.png"])
        table.writerow(["a cat is on a mat .", "one.png"])
    options = {"prompt": "given_image", "images": str(folder / "drawn.csv")}
    first, second = resq.load(str(folder), **options)
    words, image = second.prompt
    assert words.endswith("answer here </answer>.\nIs the dog on the cat?\nASSISTANT: <think>")
    assert "Then, use the image to think about the reasoning process to answer the" in words
    assert (image == pixels).all() and (first.prompt[1] == pixels[::-1]).all()
    assert second.extra["prefill"] == " <think><image>"


def test_the_form_chain_repeats_the_question_and_answers_it(folder):
    (example,) = resq.load(str(folder), chain="form", count=1)
    said = " <think> Is the cat on the mat?</think> <answer>Yes</answer>"
    assert example.rationale == (said,)
    assert chains.format_tiered(example, Reply((said,))) == 1.0


def test_datasets_give_the_same_as_the_file(folder, tmp_path):
    from_file = resq.load(str(folder))
    stories = tmp_path / "stories"
    datasets.Dataset.from_list([STORY]).save_to_disk(stories)
    assert resq.load(str(stories)) == from_file
    rows = [
        {"scene": e.extra["scene"], "question": e.extra["question"], "answer": e.answer,
         "candidate_answers": list(e.extra["candidate_answers"])}
        for e in from_file
    ]  # fmt: skip
    splits = tmp_path / "rows"
    datasets.DatasetDict({"train": datasets.Dataset.from_list(rows)}).save_to_disk(splits)
    assert resq.load(str(splits)) == from_file
    with pytest.raises(ValueError, match="datasets cannot give its split 'test'"):
        resq.load(str(splits), split="test")


@pytest.mark.parametrize(
    ("scene", "cleaned"),
    [
        ("a cat.  a cat. the DOG.", "A cat. The dog."),
        ("A cat.  A cat", "A cat. A cat."),
        ("one.two. three\nfour. five", "One.Two. Three\nfour. Five."),
        ("is it? yes! ", "Is it? Yes!"),
        ("a cat.. a cat.. a dog", "A cat.. A dog."),
        ("", ""),
        (" \n", ""),
        ("...", "..."),
    ],
)
def test_a_scene_is_cleaned_as_in_the_study(scene, cleaned):
    assert resq.clean(scene) == cleaned
    assert resq.drawing_prompt(scene) == (
        f"{cleaned} a clear spatial relationship, minimalistic and natural perspective, full wide "
        "view."
    )


@pytest.mark.reference
def test_the_studys_cleaning_cases(reference):
    functions = {"seed.capitalize_sentences": resq.capitalize,
                 "seed.remove_repetitive_sentences": resq.clean}  # fmt: skip
    lines = (reference / "data" / "reward_cases.jsonl").read_text().splitlines()
    cases = [case for case in map(json.loads, lines) if case["fn"] in functions]
    assert len(cases) == 3
    for case in cases:
        assert functions[case["fn"]](case["completion"]) == case["reward"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"split": "dev"}, "split is 'dev'; choose from train, validation, test"),
        ({"prompt": "drawn"}, "prompt is 'drawn'; choose from multimodal, textual"),
        ({"chain": "long"}, "chain is 'long'; choose from none, form"),
        ({"prompt": "given_image"}, "give the table of images with the prompt"),
        ({"images": "drawn.csv"}, "give the table of images with the prompt 'given_image'"),
        ({"prompt": "given_image", "images": "drawn.csv"}, "there is no table drawn.csv"),
        ({"count": 3}, "count 3 of 2 train records; give 0 for all"),
        ({"split": "test"}, "resq has no test_resq.json; it has train_resq.json"),
    ],
)
def test_a_wrong_option_is_named(folder, options, words):
    with pytest.raises(ValueError, match=words):
        resq.load(str(folder), **options)


def test_a_table_without_a_column_or_an_image_is_named(folder):
    (folder / "bad.csv").write_text("scene,path\n")
    (folder / "twice.csv").write_text("scene,image,image\na cat is on a mat .,one.png,two.png\n")
    (folder / "empty.csv").write_text("scene,image\na cat is on a mat .,gone.png\n")
    (folder / "open.csv").write_text('scene,image\n"a cat,one.png\n')
    for name, words in (
        ("bad", "has no column image; it has scene, path: name the columns in its first line"),
        ("twice", "has the column image twice; give each another name"),
        ("empty", "has no image that"),
        ("open", r"open.csv:2: no CSV .unexpected end of data.; close each quote"),
    ):
        with pytest.raises(ValueError, match=words):
            resq.load(str(folder), prompt="given_image", images=str(folder / f"{name}.csv"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "train_resq.json cannot be read: not JSON"),
        ('{"data": 3}', "a list of stories is expected under 'data'"),
        ('{"data": []}', "holds no question"),
        ('[{"story": ["a"], "questions": []}]', "the train split has no record; give data"),
        ('{"data": [{"questions": []}]}', "'00000' of .* has no field 'story'; it has questions"),
        (json.dumps({"data": [STORY, {"scene": "a"}]}), "'00001' of .* has no field 'question'"),
        (json.dumps([{**STORY, "story": ["one"]}]), "has a question that needs 2 of 1 sentences"),
        ('[{"scene": "a", "question": "b?", "answer": "Maybe", "candidate_answers": ["Yes"]}]',
         "has the answer 'Maybe', which is none of"),
        ("[3]", "record '00000' of .* is a JSON int, not an object"),
    ],
)  # fmt: skip
def test_a_broken_file_is_named_with_its_record(folder, content, words):
    (folder / "train_resq.json").write_text(content)
    with pytest.raises(ValueError, match=words):
        resq.load(str(folder))


def test_a_source_is_needed():
    with pytest.raises(ValueError, match="ReSQ has no source: give the folder with train_resq"):
        resq.load("")
