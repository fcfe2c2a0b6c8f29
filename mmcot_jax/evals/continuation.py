"""Continues answered chains from their pictures: with their own, with another's, without."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from mmcot_jax import mesh as meshes
from mmcot_jax.evals import needs_images, picture_ablation
from mmcot_jax.evals.answer import Beginnings, answer, decoded_pictures
from mmcot_jax.evals.picture_ablation import FORMS, Chain, Outcome
from mmcot_jax.example import Answered, Example, Selected
from mmcot_jax.hosts import never_preempted
from mmcot_jax.log import Log, write_completions
from mmcot_jax.types import Backbone, Variables


def ablate(
    backbone: Backbone,
    variables: Variables,
    examples: Sequence[Example],
    answered: Sequence[Answered],
    judge: ModuleType,
    c: Mapping[str, Any],
    *,
    mesh: Mesh,
    key: jax.Array,
    workdir: pathlib.Path,
    stage: str,
    preempted: Callable[[], bool] = never_preempted,
) -> dict[str, Any]:
    """Returns the results of a set's ablation; writes completions/{stage}_pictures.jsonl.

    `answered` are the answers to `examples` under `c` and `key`. A chain's pictures are replaced by
    those of a chain of the same kind with as many pictures. All forms sample as the evaluation did,
    by the noise and the rest of the budget of the chain itself; without pictures the chain goes on
    in words, since it would draw the missing ones again.

    Raises:
        Preempted: `preempted()` returned True; the next run answers again.
    """
    kinds = [a.example.extra.get("kind") for a in answered]
    g = backbone.grammar
    marks = int(g.boi), int(g.eoi), int(g.image_len)
    seed = meshes.get(jax.random.key_data(key)).ravel().tolist()
    found = picture_ablation.chains(answered, judge, backbone.renderer.read, marks)
    partners = picture_ablation.partners(
        [(kinds[chain.number], len(chain.starts)) for chain in found],
        [answered[chain.number].example.id for chain in found],
        seed,
    )
    pairs = [(chain, found[p]) for chain, p in zip(found, partners, strict=True) if p is not None]
    reasons = dict.fromkeys(range(len(answered)), "no_picture")
    reasons |= {chain.number: "no_partner" for chain in found}
    for chain, _ in pairs:
        del reasons[chain.number]
    forms: dict[str, list[Answered]] = {}
    if pairs:
        per_example = len(answered) // len(examples)
        chosen = Selected(examples, [chain.number // per_example for chain, _ in pairs])
        for form, beginnings in _beginnings(pairs).items():
            batches = -(-len(pairs) // c["batch_size"])
            with Log(workdir, f"{stage}_{form}", batches, process_index=jax.process_index()) as log:
                forms[form] = answer(
                    backbone, variables, chosen, c, mesh=mesh, key=key, log=log,
                    preempted=preempted, beginnings=beginnings, gather_images=needs_images(judge),
                )  # fmt: skip
    outcomes = _outcomes([answered[chain.number] for chain, _ in pairs], forms, judge)
    _write(
        backbone, answered, pairs, forms, outcomes, workdir / f"completions/{stage}_pictures.jsonl"
    )
    left_out = [(kinds[number], reason) for number, reason in reasons.items()]
    return picture_ablation.summarize(outcomes, left_out, seed)


def _beginnings(pairs: Sequence[tuple[Chain, Chain]]) -> dict[str, Beginnings]:
    """Returns how each form begins; the noise and the budget are those of the chain itself."""
    taken = [chain for chain, _ in pairs]
    ids = picture_ablation.beginnings(taken, [donor.pictures for _, donor in pairs])
    numbers = np.array([chain.number for chain in taken], np.int32)
    written = np.array([len(chain.ids) for chain in taken], np.int32)
    return {form: Beginnings(ids[form], numbers, written, form != "cut") for form in FORMS}


def _outcomes(
    originals: Sequence[Answered], forms: Mapping[str, Sequence[Answered]], judge: ModuleType
) -> list[Outcome]:
    if not originals:
        return []
    answers = {form: judge.answers(those) for form, those in forms.items()}
    correct = {form: judge.correct(those) for form, those in forms.items()}
    return [
        Outcome(
            a.example.id,
            a.example.extra.get("kind"),
            {form: answers[form][i] for form in FORMS},
            {form: bool(correct[form][i]) for form in FORMS},
            np.array_equal(forms["own"][i].ids, a.ids),
        )
        for i, a in enumerate(originals)
    ]


def _write(
    backbone: Backbone,
    answered: Sequence[Answered],
    pairs: Sequence[tuple[Chain, Chain]],
    forms: Mapping[str, Sequence[Answered]],
    outcomes: Sequence[Outcome],
    path: pathlib.Path,
) -> None:
    """Writes three rows a chain, one for each form, with the pictures of each."""
    rows, pictures = [], []
    for i, ((chain, donor), outcome) in enumerate(zip(pairs, outcomes, strict=True)):
        shown = list(answered[chain.number].prompt_pictures)
        for form in FORMS:
            continued = forms[form][i]
            row = {"id": outcome.question, "kind": outcome.kind, "form": form}
            row |= {"pictures_of": answered[donor.number].example.id} if form == "other" else {}
            rows.append(
                row
                | {
                    "prompt": continued.prompt,
                    "reply": continued.reply.text,
                    "answer": continued.example.answer,
                    "read": outcome.answers[form],
                    "correct": outcome.correct[form],
                    "tokens": continued.tokens,
                    "ended": continued.ended,
                    "prompt_pictures": shown,
                }
            )
            pictures.append(decoded_pictures(backbone, continued.reply))
    write_completions(path, rows, pictures, process_index=jax.process_index())
