"""m2m: Anole-7B learns PuzzleVQA in chains of words and pictures.

    python -m mmcot_jax.main --config configs/m2m.py:tiny --workdir runs/m2m        # a laptop
    python -m mmcot_jax.main --config configs/m2m.py:tiny-text --workdir runs/m2m-text
    python -m mmcot_jax.main --config configs/m2m.py:tiny-few-chains --workdir runs/m2m-few
    python -m mmcot_jax.prepare --config configs/m2m.py --config.model.weights=Anole-7b-v0.1 \
        --workdir m2m-store
    python -m mmcot_jax.main --config configs/m2m.py --config.model.weights=Anole-7b-v0.1 \
        --config.data.store=m2m-store --workdir runs/m2m-7b                         # a TPU host

    python -m mmcot_jax.main --config configs/m2m.py:planning-text --workdir runs/planning-text
    python -m mmcot_jax.main --config configs/m2m.py:planning --workdir runs/planning   # drawn

`7b` needs Anole-7B's weights (Hugging Face layout with vqgan.ckpt beside it, or the original
release); all that `tiny` needs is in the package. Half of its chains guess; `tiny-few-chains` has
eighty that all reason.
"""

from ml_collections import ConfigDict

from configs import base
from mmcot_jax.tasks.puzzlevqa import IN_DOMAIN, KINDS

PLANNING = (
    "planning",
    "planning-optimal",
    "planning-walks",
    "planning-text",
    "planning-text-optimal",
    "planning-text-walks",
    "planning-7b",
)
"""Ways through grids. SFT on random walks, then GRPO; `optimal` and `walks` are its rivals: as much
SFT alone, on shortest paths and on random walks."""

PRESETS = ("7b", "7b-text", "tiny", "tiny-text", "tiny-few-chains", *PLANNING)

TINY_KINDS = ("rectangle_height_number", "color_overlap_squares")
"""Kinds whose rule two million parameters learn in minutes: the answer follows from one length or
from two colours."""


def get_config(preset: str = PRESETS[0]) -> ConfigDict:
    """The study's settings at full size, or a few million parameters from scratch."""
    if preset in PLANNING:
        return planning_7b() if preset == "planning-7b" else planning(preset)
    size, _, variant = preset.partition("-")
    config = {"7b": full, "tiny": small}[size]()
    if variant == "text":
        config.model.draws = False
        config.data.train.chain = "textual"
        budget = {"7b": 512, "tiny": 96}[size]
        config.eval.max_completion_length = config.grpo.max_completion_length = budget
        if size == "7b":
            config.plan = base.shapes(1152, 1, 1344, 1)
    if preset in ("tiny", "tiny-few-chains"):
        # `tiny` takes 11 minutes on two cores
        config.sft.update({"optim": "muon", "learning_rate": 6e-3, "length_buckets": 2})
        # a multiple of the prompts' length: fewer lengths of rows to compile for
        config.grpo.update({"learning_rate": 2e-4, "max_steps": 16, "length_multiple": 80})
        config.eval.transfer_count = 2
    if variant == "few-chains":
        few_chains(config)
    if preset == "tiny-text":
        # chains a third as long, that name one letter and weigh no options, need more steps
        config.sft.max_steps = 6000
    return config


def full() -> ConfigDict:
    """Anole-7B, adapters on q and v, 25,000 puzzles of five kinds, 20 epochs (31,240 steps)."""
    return base.config(
        stages=("sft", "eval", "grpo", "eval"),
        rollout_mesh=base.rollouts(4),
        model={
            "backbone": "chameleon",
            "weights": "Anole-7b-v0.1",
            "adapter": "",  # a PEFT adapter to start from
            "tokenizer": "",
            "vqgan_weights": "",
            "preprocess": "native",
            "context": 6272,  # a prompt of 1,152 and a completion of 5,120
            "draws": True,
            "decoder": {
                "vocab": 65536,
                "width": 4096,
                "layers": 32,
                "heads": 32,
                "kv_heads": 32,
                "mlp": 11008,
                "eps": 1e-5,
                "rope_theta": 1e4,
                "tied": False,
                "dtype": "bfloat16",
                "param_dtype": "bfloat16",
                # None: bfloat16; then 32 rows fit at once, with grpo.rollout_micro_batches=8
                "base_dtype": "int8",
                "remat_policy": "nothing",
                "norm_after": False,
            },
            "vqgan": {},
            "lora": {"rank": 8, "alpha": 16.0, "dropout": 0.1, "targets": ("q", "v")},
        },
        data={
            "task": "puzzlevqa",
            "on_bad_record": "raise",
            "max_bad": 0.05,  # a share of a set; "skip" leaves out no more
            "max_image_pixels": 2**26,
            "train": {
                "kinds": IN_DOMAIN,
                "count": 5000,
                "size": 512,
                "chain": "multimodal",
                "wording": "corrected",
                "guesses": 0.0,
                "released": "",
                "validation_count": 100,
                "seed": 0,
                "processes": 16,
                "progress": True,
            },
            "grpo": {
                "kinds": IN_DOMAIN,
                "count": 1000,
                "size": 512,
                "chain": "none",
                "released": "",
                "validation_count": 100,
                "seed": 1,
                "processes": 16,
                "progress": True,
            },
            "store": "",
            "shards": 64,
            "tokenize_batch": 64,
        },
        # a question has one picture; the longest chain has four more
        plan=base.shapes(1152, 1, 5632, 5),
        sft=base.sft(2e-5, num_train_epochs=20.0, batch_size=16, save_steps=1562),
        # a row of 5,120 tokens has 2.5 GiB of cache: 64 are sampled at once, 32 trained
        grpo=base.grpo(
            1e-5, 5120, eval_steps=50, rollout_micro_batches=4, gradient_accumulation_steps=8
        ),
        eval=base.sampling(5120, batch_size=32)
        | {
            "count": 100,
            "transfer_count": 100,
            "data": {
                "kinds": tuple(KINDS),
                "split": "test",
                "size": 512,
                "released": "",
            },
        },
    )


def small() -> ConfigDict:
    """The base of the small presets: steps and optimizer of most are set in `get_config`.

    Two kinds at 64 pixels, 64 ids a picture, a decoder of 2.5 million from scratch. Half of the
    supervised chains guess, and so does the model after them. GRPO has to find that drawing is
    rewarded.
    """
    config = full()
    config.rollout_mesh = None
    config.model.update(
        {
            "weights": "",
            "tokenizer": "packaged:tiny_tokenizer.json",
            "vqgan_weights": "packaged:tiny_vqgan.safetensors",
            "context": 640,
        }
    )
    config.model.decoder = {
        "vocab": 1792,
        "eps": 1e-5,
        "rope_theta": 1e4,
        "tied": False,
        "width": 192,
        "layers": 4,
        "heads": 2,
        "kv_heads": 2,
        "mlp": 512,
        "remat": False,
        "remat_policy": "nothing",
        "norm_after": False,
        "unroll": 4,
        "embed_init": 0.2,
        "out_init": 0.0,
        "qk_init": 1.7,
    }
    config.model.vqgan = {
        "ch": 8,
        "ch_mult": (1, 1, 3, 4),
        "num_res_blocks": 1,
        "z_channels": 32,
        "embed_dim": 32,
        "codes": 1024,
        "resolution": 64,
        "groups": 4,
    }
    config.model.lora = {"rank": 0, "alpha": 16.0, "dropout": 0.0, "targets": ()}
    drawn = {"kinds": TINY_KINDS, "count": 800, "size": 64, "processes": 2}
    config.data.train.update(drawn | {"validation_count": 20, "guesses": 0.5})
    config.data.grpo.update(drawn | {"validation_count": 20, "count": 200})
    config.sft.update(
        {
            "what": "all",
            "image_weight": 0.2,
            "learning_rate": 1.5e-3,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 50,
            "adam_beta2": 0.95,
            "weight_decay": 0.1,
            "num_train_epochs": 0.0,
            "max_steps": 750,
            "batch_size": 8,
            "length_multiple": 8,
            "logging_steps": 10,
            "save_steps": 100,
        }
    )
    config.grpo.update(
        {
            "what": "all",
            # At five times this rate, with image ids in the loss, pictures drift within twelve
            # steps (0.4 nats per id instead of 0.06), and accuracy falls with them.
            "learning_rate": 1e-4,
            "image_weight": 0.0,
            "lr_scheduler_type": "constant",
            "adam_beta2": 0.95,
            "max_completion_length": 400,
            "rollout_micro_batches": 1,
            "prompts_per_step": 8,
            "gradient_accumulation_steps": 2,
            "max_steps": 24,
            # only the answer is rewarded; the form of the chain is logged
            "reward_weights": (1.0, 0.0),
            "mask_truncated_completions": True,
            "eval_steps": 8,
            "num_completions_to_print": 2,
            "save_steps": 8,
            "length_multiple": 8,
        }
    )
    config.eval.update(
        {
            "transfer_count": 20,
            "max_completion_length": 400,
            "batch_size": 50,
            "length_multiple": 1,
        }
    )
    config.eval.data.size = 64
    config.plan = base.shapes(80, 1, 448, 5)
    return config


def few_chains(config: ConfigDict) -> None:
    """SFT learns 40 chains of each kind by heart; GRPO has the pictures of other puzzles.

    SFT ends at a loss of 3e-7, where a temperature of 1 explores little. At 4, cut by `min_p`,
    words differ where the model is in doubt. Pictures are drawn at .5, as a judgement follows its
    picture: samples that draw alike and judge differently teach to judge. Each option's section has
    an advantage of its own. Overlapping squares have only 105 different questions: 50 test puzzles
    leave two thirds of them to GRPO, where 100 leave one.
    """
    config.data.train.update({"count": 40, "guesses": 0.0})
    config.data.grpo.update({"count": 800, "test_count": 50})
    config.eval.count = 50
    config.sft.max_steps = 1000
    config.grpo.update(
        {
            "optim": "muon",
            "learning_rate": 3e-4,
            "temperature": 4.0,
            "image_temperature": 0.5,
            "min_p": 0.05,
            "max_steps": 120,
            "prompts_per_step": 16,
            "gradient_accumulation_steps": 8,  # parts of groups that are alike are skipped
            "scale_rewards": "batch",
            "reward_funcs": ("accuracy", "judgements", "caption", "format_drawn"),
            "reward_weights": (1.0, 1.0, 0.5, 0.5),
            "process_reward_funcs": ("judgements",),
            "eval_steps": 20,
            "save_steps": 20,
        }
    )


def planning(preset: str) -> ConfigDict:
    """FrozenLake of 3 x 3 and 4 x 4 cells, 16 ids a picture, a decoder of 0.7 million from scratch.

    SFT has random walks only: one in six is a shortest path, and a model that has learned them well
    walks as they do. For 200 questions about 70 layouts that training never had, sampled, GRPO
    raised the share of shortest paths, in the mean of three seeds, from 0.13 to 0.65 in words and
    from 0.17 to 0.66 drawn.
    """
    text, rival = "text" in preset, preset.rpartition("-")[2]
    config = small()
    config.model.update(
        {
            "tokenizer": "packaged:grid_tokenizer.json",
            "vqgan_weights": "packaged:grid_vqgan.safetensors",
            "context": 256,
            "draws": not text,
        }
    )
    config.model.decoder.update(
        {
            "vocab": 368,
            "width": 128,
            "heads": 4,
            "kv_heads": 4,
            "mlp": 384,
            "layers": 3,
            "unroll": 3,
        }
    )
    config.model.vqgan = {
        "ch": 8,
        "ch_mult": (1, 1, 2, 2),
        "num_res_blocks": 1,
        "z_channels": 8,
        "embed_dim": 8,
        "codes": 16,
        "resolution": 32,
        "groups": 4,
    }
    config.data.task = "frozenlake"
    grids = {"sizes": (3, 4), "size": 32, "canvas": 4, "min_moves": 2}
    grids["question"] = "words" if text else "picture"
    chain = "textual" if text else "drawn"
    walk = {"seed": 0, "chain": chain, "walk": "random", "max_steps": 8}
    config.data.train = ConfigDict(grids | walk | {"count": 1500})
    config.data.grpo = ConfigDict(grids | {"seed": 1, "chain": "none", "count": 1500})
    config.sft.update(
        {
            # drawn, as good as AdamW after three times the steps
            "optim": "muon",
            "learning_rate": 6e-3,
            "max_steps": 500,
            "batch_size": 32,
            "image_weight": 1.0,
        }
    )
    budget = 24 if text else 160
    config.grpo.update(
        {
            # at 3e-4 pictures drift: within twelve steps no drawn way reached the goal any more; in
            # words one seed of three stopped early
            "learning_rate": 1e-4,
            "image_weight": 1.0,
            "max_completion_length": budget,
            "prompts_per_step": 16,
            "gradient_accumulation_steps": 1,
            "max_steps": 400 if text else 200,
            "reward_funcs": ("goal", "progress"),
            "reward_weights": (1.0, 1.0),
            "eval_steps": 50,
            "eval_count": 50,
            "num_generations_eval": 4,
            "save_steps": 50,
        }
    )
    # sampled, as the walks are: the likeliest move of a random walk, again and again, is to and fro
    config.eval.update({"max_completion_length": budget, "batch_size": 50, "greedy": False})
    del config.eval.count, config.eval.transfer_count
    config.eval.data = ConfigDict(grids | {"split": "test", "chain": "none", "count": 100})
    config.plan = base.shapes(32, 1, 32 + budget, 9)
    if rival in ("optimal", "walks"):
        config.stages = ("sft", "eval")
        config.data.train.walk = "optimal" if rival == "optimal" else "random"
        # a step of GRPO takes 0.9 s in words, where one of SFT takes 0.21 s; drawn, 8.7 and 0.87:
        # rounded up, for the rival
        config.sft.max_steps += (5 if text else 10) * config.grpo.max_steps
    return config


def planning_7b() -> ConfigDict:
    """Anole-7B draws its way over lakes of 3 x 3 to 6 x 6 cells, and is asked for larger ones too.

    The rivals: `--config.data.train.walk=optimal`, and more `--config.sft.num_train_epochs`.
    """
    config = full()
    config.data.task = "frozenlake"
    # no longer than the taught walks, so that rows of the rival fit too
    grids = {"size": 512, "canvas": None, "question": "picture", "max_moves": 8}
    seen = grids | {"sizes": (3, 4, 5, 6)}
    walk = {"seed": 0, "chain": "drawn", "walk": "random", "max_steps": 8}
    config.data.train = ConfigDict(seen | walk | {"count": 1000})
    config.data.grpo = ConfigDict(seen | {"seed": 1, "chain": "none", "count": 1000})
    config.model.context = 10752
    # nine pictures of 1,026 tokens
    config.eval.max_completion_length = config.grpo.max_completion_length = 9280
    config.sft.update({"num_train_epochs": 10.0, "save_steps": 500})
    config.grpo.update(
        {
            "reward_funcs": ("goal", "progress"),
            "reward_weights": (1.0, 1.0),
            "rollout_micro_batches": 8,
            "gradient_accumulation_steps": 16,
        }
    )
    del config.eval.count, config.eval.transfer_count
    sizes = {"sizes": (3, 4, 5, 6, 7, 8)}
    config.eval.data = ConfigDict(grids | sizes | {"split": "test", "chain": "none", "count": 100})
    config.plan = base.shapes(1088, 1, 9408, 9)
    return config
