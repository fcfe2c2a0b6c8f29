import json
import random

import numpy as np
import pytest

from mmcot_jax.tasks.puzzlevqa import KINDS, chain
from mmcot_jax.tasks.puzzlevqa.kind import Scene
from mmcot_jax.tasks.puzzlevqa.splits import record_wording

VENN, TRIANGLE = KINDS["venn"], KINDS["triangle"]

SCENE = Scene(values=(7, 9, 1), missing=2, options=("4", "8", "1", "9"))

PATTERN = (
    "There are 3 overlapping circles containing the numbers [7, 9, '?']. The overlapping part "
    "between the first and second circle contains the number 16. The overlapping part between the "
    "second and third circle contains the number 10. We observe that the circles with 7 and 9 "
    "overlap to form the part 16, where 7 + 9 = 16. Hence, the pattern is most likely that the "
    "numbers in the overlapping parts are the sum of the numbers in the corresponding circles."
)


def text(segments):
    return "".join(s if isinstance(s, str) else "<image>" for s in segments)


def test_the_prompt_ends_at_the_head_of_the_pattern():
    image = np.zeros((8, 8, 3), np.uint8)
    prompt = chain.prompt(VENN.word(SCENE), image)
    assert prompt[1] is image
    assert text(prompt) == (
        "# Question:\n<image>What is the missing number of the part denoted with a question "
        "mark?\n\n# Options:\n(A) 4\n(B) 8\n(C) 1\n(D) 9\n\n# Pattern:\n"
    )
    assert chain.letter(VENN.word(SCENE)) == "C"


def test_a_textual_chain_deduces():
    assert text(chain.textual(VENN, SCENE)) == (
        f"{PATTERN}\n\n# Final Answer:\n"
        "Based on the pattern that the numbers in the overlapping parts are the sum of the numbers "
        "in the corresponding circles, the missing number of the circle where the overlapping part "
        "is 10 should be 1. Therefore, among (A) (B) (C) (D), the answer is: (C)."
    )


def test_three_options_have_three_letters():
    scene = Scene(
        attributes=("triangle", "pentagon", "hexagon"),
        values=("medium", "small", "large"),
        missing=2,
        options=("small", "large", "medium"),
    )
    assert text(chain.textual(KINDS["shape_size_hexagon"], scene)).endswith(
        "Therefore, among (A) (B) (C), the answer is: (B)."
    )


def test_a_multimodal_chain_tries_every_option():
    segments = chain.multimodal(VENN, SCENE, size=64)
    compared = "Comparing the number in each overlapping part to the sum of its two circles, it"
    no = (
        f"{compared} does not fit the observed pattern. {{0}} is unlikely to be the correct answer."
    )
    yes = f"{compared} matches well the observed pattern. {{0}} is a strong candidate for the correct answer."  # noqa: E501
    tried = "".join(
        f"# Option {name}\nReplacing '?' with {option}: <image>\n"
        f"Reasoning: {(yes if option == '1' else no).format(option)}\n\n"
        for name, option in zip("ABCD", ["4", "8", "1", "9"], strict=True)
    )
    assert text(segments) == (
        f"{PATTERN}\n\n{tried}# Final Answer:\n"
        "Based on the reasoning process, the best fit for the missing number is 1. The pattern "
        "that the numbers in the overlapping parts are the sum of the numbers in the corresponding "
        "circles holds consistently when we replace '?' with 1. Therefore, among (A) (B) (C) (D), "
        "the answer is: (C)."
    )
    pictures = [s for s in segments if not isinstance(s, str)]
    assert [p.shape for p in pictures] == [(64, 64, 3)] * 4
    for option, picture in zip(SCENE.options, pictures, strict=True):
        assert (picture == VENN.draw(SCENE.fill(option), 64)).all()


@pytest.mark.parametrize(
    ("kind", "corrected", "original"),
    [
        ("rectangle_height_color", "the missing color is", "the missing number is"),
        ("grid_number_color", "color", "each row adds up to the same value"),
    ],
)
def test_the_original_wording_names_a_wrong_rule_in_two_kinds(kind, corrected, original):
    scene = KINDS[kind].sample(random.Random(0))
    ours = text(chain.multimodal(KINDS[kind], scene, size=16))
    theirs = text(chain.multimodal(KINDS[kind], scene, size=16, wording="original"))
    assert corrected in ours
    assert original in theirs
    assert original not in ours


def test_a_guessing_chain_names_a_letter_only():
    assert chain.guess(VENN.word(SCENE), "B") == (
        "# Final Answer:\nTherefore, among (A) (B) (C) (D), the answer is: (B).",
    )


def test_a_kind_without_option_pictures_has_no_multimodal_chain():
    with pytest.raises(ValueError, match="'size_cycle' has no multimodal chain: its caption does"):
        chain.multimodal(KINDS["size_cycle"], SCENE, size=64)


@pytest.mark.reference
@pytest.mark.parametrize("run", ["Anole-7B-5DS-CE", "Anole-7B-5DS-CE-txt"])
def test_the_layout_is_that_of_the_stored_generations(run, reference):
    path = reference / "data" / "reference_outputs" / "anole" / run / "triangle.jsonl"
    alike = 0
    for line in path.read_text().splitlines():
        record = json.loads(line)
        word, scene, reply = record_wording(record), TRIANGLE.parse(record), record["output_text"]
        prompt = text(chain.prompt(word, np.zeros((8, 8, 3), np.uint8))).replace("<image>", "")
        assert reply.startswith(prompt)
        ours = chain.textual(TRIANGLE, scene)
        if run == "Anole-7B-5DS-CE":
            ours = chain.multimodal(TRIANGLE, scene, size=16)
        alike += reply[len(prompt) :].startswith(text(ours).replace("<image>", ""))
    # Generations that read the picture right and judge every option right are ours to the letter.
    assert alike > 0
