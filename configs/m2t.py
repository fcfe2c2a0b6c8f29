"""m2t: Qwen2.5-VL answers questions about pictures in chains that cite boxes.

    python -m mmcot_jax.main --config configs/m2t.py:tiny --workdir runs/m2t          # a laptop
    python -m mmcot_jax.main --config configs/m2t.py --config.model.weights=Qwen2.5-VL-7B-Instruct \
        --workdir runs/m2t-7b                                                         # a TPU host
    python -m mmcot_jax.main --config configs/m2t.py:3b-viscot --workdir runs/m2t-3b
    python -m mmcot_jax.main --config configs/m2t.py:3b-colab --workdir runs/m2t-colab \
        --config.model.weights=Qwen/Qwen2.5-VL-3B-Instruct                            # one chip

`model.weights` is a folder, or a repository of the Hugging Face hub, which is then downloaded:
`Qwen/Qwen2.5-VL-7B-Instruct`.

`7b`: SFT on A-OKVQA's chains, then GRPO on its questions, rewarding answer, boxes and format;
`7b-noboxes`: the same without boxes; `3b-viscot`: SFT on open A-OKVQA questions, then GRPO on the
ten Visual-CoT sets, with twenty checkpoints, evaluated on six benchmarks; `3b-colab`: the released
3B with its frozen weights in int8 and small batches on NLVR, for one device of 16 GB: a TPU v5e-1
or an L4 (not run there). A T4 has no bfloat16 units and is slower; `tiny`: from scratch on pictures
of toy shapes, all in the package; `tiny-nlvr`: the same model on NLVR's drawn pictures and
human-written sentences, from `data/nlvr`. The full-size presets read `data/`, laid out as the
study's.

Your own questions are a table with the columns question and answer, and, if there are some, image
and chain (`tasks/table.py`); `3b-table` is for one device, `tiny-table` is the model from scratch:

    python -m mmcot_jax.main --config configs/m2t.py:3b-table --config.data.source=questions.csv \
        --config.model.weights=Qwen/Qwen2.5-VL-3B-Instruct --workdir runs/own

`3b-table` sees pictures with 40,000 pixels at most, which is enough for drawings. For photographs
give `--config.model.max_pixels=401408 --config.model.context=1536`: 512 cells, and more memory.

The study's ablations are flags:

    rewards     --config.grpo.reward_funcs=tagged_accuracy,iou --config.grpo.reward_weights=1,1
    its own     --config.grpo.reward_funcs=reference_vlmr1_accuracy,reference_vlmr1_bbox
    GRPO on     --config.data.grpo.task=drivingvqa
    frames      --config.data.train.frame=original --config.data.train.wording=original
    seeds       --config.seed=22, and 32 and 42, each in its own --workdir; then
                python -m mmcot_jax.score --mean runs/m2t-22 runs/m2t-32 runs/m2t-42
    benchmarks  --config.eval.only=gqa,pope --config.eval.sets.gqa.subset=all
                --config.eval.sets.gqa.llava_questions=llava_gqa_testdev_balanced.jsonl
                --config.eval.sets.gqa.llava_answers=llava-v1.5-13b.jsonl
    checkpoints --config.eval.checkpoints=all, then
                python -m mmcot_jax.report runs/m2t-3b --out page
    objective   --config.grpo.loss_type=grpo --config.grpo.beta=0.04 --config.grpo.num_generations=4
                --config.grpo.use_bias_correction_kl=False
                and for 3b-viscot --config.grpo.gradient_accumulation_steps=8
"""

from ml_collections import ConfigDict, FieldReference

from configs import base
from mmcot_jax.models.qwen25vl.config import SIZES

PRESETS = (
    "7b", "7b-noboxes", "3b-viscot", "3b-colab", "3b-table", "tiny", "tiny-nlvr", "tiny-table",
)  # fmt: skip

ALL_LINEAR = ("q", "k", "v", "o", "gate", "up", "down")
"""The layers the study adapts, and the head of the 7B; the 3B's head is its embedding."""
REWARDS = {"tagged_accuracy": 1.0, "iou": 1.0, "tagged_format": 0.5}


def get_config(preset: str = PRESETS[0]) -> ConfigDict:
    """The study's settings at full size, or a few million parameters from scratch."""
    if preset.startswith("tiny"):
        config = {"tiny": small, "tiny-nlvr": tiny_nlvr, "tiny-table": tiny_table}[preset]()
        if preset == "tiny":
            config.sft.update({"optim": "muon", "learning_rate": 6e-3, "max_steps": 150})
            config.grpo.update({"optim": "muon", "learning_rate": 5e-4, "max_steps": 200})
            config.grpo.eval_steps = config.grpo.save_steps = 50
        return config
    config = full("7b" if preset.startswith("7b") else "3b")
    if preset == "7b-noboxes":
        for group in (config.data.train, config.data.grpo, *config.eval.sets.values()):
            group.boxes = False
        config.grpo.update(rewards("tagged_accuracy", "tagged_format"))
    if preset == "3b-viscot":
        scale_up(config)
    if preset in ("3b-colab", "3b-table"):
        one_device(nlvr(config) if preset == "3b-colab" else table(config))
    return config


def rewards(*names: str) -> dict:
    """Rewards with their weights; the first decides whether a chain is right."""
    return {"reward_funcs": names, "reward_weights": tuple(REWARDS[name] for name in names)}


def model(size: str) -> dict:
    """A released model, with the study's adapters."""
    head = () if SIZES[size]["decoder"]["tied"] else ("head",)
    return {
        "backbone": "qwen25vl",
        "weights": f"Qwen2.5-VL-{size.upper()}-Instruct",
        "adapter": "",  # a PEFT adapter to start from
        "tokenizer": "",
        "preprocess": "utils",
        "min_pixels": 3136,
        "max_pixels": 3_686_400,
        "system": "",
        "context": 6144,
        "vision": SIZES[size]["vision"],
        "decoder": SIZES[size]["decoder"] | {"remat_policy": "nothing", "base_dtype": None},
        "lora": {"rank": 8, "alpha": 16.0, "dropout": 0.05, "targets": (*ALL_LINEAR, *head)},
    }


def photographs(task: str, **changes) -> dict:
    """Questions about photographs, from the study's folder."""
    return {"task": task, "source": "data", "split": "train", "count": 0} | changes


def full(size: str) -> ConfigDict:
    """Adapters on every linear layer, 17,056 chains of A-OKVQA once, then its questions once."""
    grounded = {"boxes": True, "frame": "resized", "wording": "corrected"}
    questions = photographs("aokvqa", part="all", validation_count=100, **grounded)
    return base.config(
        stages=("sft", "eval", "grpo", "eval"),
        # the 3b's two kv heads are on two devices each: a quarter less to read than with 2
        rollout_mesh=base.rollouts(4),
        model=model(size),
        data={
            "task": "aokvqa",
            "on_bad_record": "raise",
            "max_bad": 0.05,  # a share of a set; "skip" leaves out no more
            "max_image_pixels": 2**26,
            "train": dict(questions),
            "grpo": dict(questions),
            "store": "",
            "shards": 64,
            "tokenize_batch": 64,
        },
        # photographs of 640 x 640 pixels at most: 529 cells in 36 windows
        plan=base.shapes(832, 36, 1088, 36),
        sft=base.sft(1e-4, num_train_epochs=1.0, batch_size=16),
        grpo=base.grpo(
            1e-5,
            256,
            eval_steps=50,
            eval_count=100,
            gradient_accumulation_steps=4,
            **rewards("tagged_accuracy", "iou", "tagged_format"),
        ),
        # the penalty is the released model's generation config; the study's GRPO sampled without
        eval=base.sampling(512, repetition_penalty=1.05)
        | {
            "sets": {
                "aokvqa": photographs("aokvqa", split="test", **grounded),
                "drivingvqa": photographs("drivingvqa", split="test", **grounded),
            }
        },
    )


def scale_up(config: ConfigDict) -> None:
    """SFT on open questions, then GRPO on 120,000 short answers about ten kinds of pictures."""
    config.data.on_bad_record = "skip"  # a fifteenth of dude's boxes refer to another picture size
    config.data.train.form = "open"
    config.data.grpo = ConfigDict(photographs("viscot", validation_count=2000, frame="resized"))
    # document pages of max_pixels: 4,702 cells
    config.plan.update({"prompt_tokens": 5120, "prompt_slots": 330})
    config.grpo.gradient_accumulation_steps = 16
    config.eval.batch_size = 32
    # 3,772 steps of 32 questions: 20 checkpoints, and those of preemptions, all kept
    config.grpo.update({"save_steps": 189, "save_total_limit": None})
    config.eval.sets = ConfigDict(
        {
            "viscot": photographs("viscot", split="validation", validation_count=2000),
            "aokvqa": photographs("aokvqa", split="test", form="open"),
            **benchmarks(),
        }
    )


def benchmarks() -> dict:
    """The study's six benchmarks, 2,000 questions each, from `data/vqav2` and so on.

    The study measured agreement with LLaVA's answers, which `llava_questions` and `llava_answers`
    add beside the official metric.
    """
    splits = {
        "vqav2": "validation",
        "gqa": "test",
        "pope": "test",
        "scienceqa": "test",
        "textvqa": "validation",
        "vizwiz": "validation",
    }
    options = {"form": "open", "subset": "study", "llava_questions": "", "llava_answers": ""}
    return {
        name: photographs(name, source=f"data/{name}", split=split, **options)
        for name, split in splits.items()
    }


def one_device(config: ConfigDict) -> None:
    """int8 frozen weights and micro-batches that fit 16 GB; checkpoints often, sessions end."""
    config.rollout_mesh = None
    config.model.decoder.base_dtype = "int8"
    config.model.update({"max_pixels": 400 * 100, "context": 1024})
    # 14 x 4 cells in four windows of 16
    config.plan = base.shapes(320, 4, 640, 4)
    config.sft.update({"batch_size": 8, "gradient_accumulation_steps": 4, "save_steps": 50})
    config.sft.update({"num_train_epochs": 0.0, "max_steps": 200})
    config.grpo.update({"prompts_per_step": 4, "gradient_accumulation_steps": 8, "save_steps": 20})
    config.grpo.update({"num_train_epochs": 0.0, "max_steps": 200})
    config.eval.batch_size = 16
    # chains of NLVR have up to 327 tokens
    config.grpo.max_completion_length = config.eval.max_completion_length = 384


def small() -> ConfigDict:
    """The base of the small presets: steps and optimizer of `tiny` are set in `get_config`.

    Toy shapes at 48 pixels in 36 cells, a decoder and a tower of 2.5 million from scratch. From 120
    chains SFT learns to read half of the pictures; GRPO has the answers to 4,000 others. With
    `--config.data.train.guesses=0.5` half of the chains name an answer without looking.
    """
    config = full("7b")
    config.rollout_mesh = None
    config.model.update(
        {
            "weights": "",
            "tokenizer": "packaged:tiny_tokenizer.json",
            "min_pixels": 64,
            "max_pixels": 64 * 64,
            "context": 256,
            "lora": {"rank": 0, "alpha": 16.0, "dropout": 0.0, "targets": ()},
        }
    )
    # whole groups, so that none of the 7B's values remain, above all its bfloat16
    config.model.decoder = {
        "vocab": 1152,
        "width": 192,
        "layers": 4,
        "heads": 4,
        "kv_heads": 2,
        "mlp": 512,
        "rope_sections": (8, 8, 8),
        # rows and columns rotate the slower channels: at 1e4 six columns differ by 0.01 radians
        "rope_theta": 10.0,
        "eps": 1e-5,
        "tied": False,
        "qk_norm": True,
        "remat": False,
        "remat_policy": "nothing",
        "unroll": 4,
        "embed_init": 0.2,
        "out_init": 0.0,
        "qk_init": 1.7,
    }
    config.model.vision = {
        "width": 96,
        "depth": 2,
        "heads": 4,
        "mlp": 192,
        "full": (1,),
        "window": 32,
        "patch": 4,
    }
    config.plan = base.shapes(72, 4, 104, 4)
    # open questions: after 2500 steps it names colours, but not yet the letter of an option
    questions = {"kinds": ("color_at",), "size": 48, "form": "open", "boxes": True}
    config.data.task = "shapes"
    chains = {"split": "train", "count": 120, "seed": 0, "guesses": 0.0}
    config.data.train = ConfigDict(questions | chains)
    config.data.grpo = ConfigDict(questions | {"split": "train", "count": 4000, "seed": 1})
    config.eval.sets = ConfigDict({"shapes": questions | {"split": "test", "count": 400}})
    config.sft.update(
        {
            "what": "all",
            "learning_rate": 1.5e-3,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 50,
            "adam_beta2": 0.95,
            "weight_decay": 0.1,
            "num_train_epochs": 0.0,
            "max_steps": 1500,
            "batch_size": 16,
            "length_multiple": 8,
            "logging_steps": 10,
            "save_steps": 100,
        }
    )
    config.grpo.update(
        {
            "what": "all",
            "learning_rate": 1e-4,
            "adam_beta2": 0.95,
            "max_completion_length": 96,
            "gradient_accumulation_steps": 1,
            "prompts_per_step": 8,
            "max_steps": 60,
            "mask_truncated_completions": True,
            "eval_steps": 20,
            "eval_count": 50,
            "save_steps": 20,
            "length_multiple": 8,
        }
    )
    config.eval.update(
        {
            "max_completion_length": 96,
            "batch_size": 50,
            "length_multiple": 8,
            "repetition_penalty": 1.0,
        }
    )
    return config


def tiny_nlvr() -> ConfigDict:
    """NLVR in place of the toy shapes: 400 by 100 pixels in 100 cells, chains of 130 tokens."""
    config = nlvr(small())
    config.plan = base.shapes(264, 10, 512, 10)
    config.model.update({"max_pixels": 400 * 100, "context": 576})
    config.model.vision.update({"patch": 10, "window": 80})
    for group in (config.grpo, config.eval):
        group.max_completion_length = 288
    config.eval.batch_size = 24
    return config


def nlvr(config: ConfigDict) -> ConfigDict:
    """NLVR's drawn pictures and human-written sentences as the data of all stages."""
    questions = {"source": "data/nlvr", "form": "options", "boxes": True, "count": 0}
    config.data.task = "nlvr"
    for group in ("train", "grpo"):
        config.data[group] = ConfigDict(questions | {"split": "train"})
    config.eval.sets = ConfigDict({"nlvr": questions | {"split": "test"}})
    return config


def tiny_table() -> ConfigDict:
    """Your own table, in place of the toy shapes: questions in words of at most 40 letters or so.

    Few steps, so that the chains of a small table are not learned by heart: GRPO needs replies that
    differ.
    """
    config = table(small())
    config.plan = base.shapes(72, 0, 136, 0)
    config.sft.update({"max_steps": 120, "save_steps": 60})
    config.grpo.update({"max_steps": 30, "save_steps": 10})
    return config


def table(config: ConfigDict) -> ConfigDict:
    """A user's table as the data of all stages: `data.source` names it."""
    source = FieldReference("")
    config.data.task = "table"
    config.data.source = source
    for group in ("train", "grpo"):
        config.data[group] = ConfigDict({"source": source, "split": "train", "count": 0})
    config.eval.sets = ConfigDict({"table": {"source": source, "split": "test", "count": 0}})
    config.grpo.update(rewards("tagged_accuracy", "tagged_format"))
    config.grpo.eval_steps = 0  # a small table has few questions for validation
    return config
