"""The options of a config: their values, "off" values, meanings, and names in TRL.

`data.*` is `data.train`, `data.grpo`, `eval.data` or a set of `eval.sets`; `model.TOWER` is
`model.vision`, `model.vqgan`, `model.seed`, `model.unclip.unet`, `model.unclip.vae` or a tower of
`model.clip`.
"""

from typing import Any, NamedTuple

from mmcot_jax.options.choices import (
    AGGREGATIONS,
    LEVELS,
    LOSS_TYPES,
    OPTIMIZERS,
    SCALES,
    SCHEDULES,
    WHAT,
)
from mmcot_jax.options.values import (
    LARGEST,
    Values,
    flag,
    flags,
    group,
    names,
    number,
    numbers,
    one_of,
    sizes,
    some_of,
    steps_or_share,
    text,
    whole,
    whole_numbers,
)

# why an option may change between two starts of a run
DURATION = "how long to train"
RECORDS = "what is written, and when"
LAYOUT = "the same numbers, computed elsewhere or in other parts"
PADDING = "padding only"
DROPOUT = "; SFT's dropout draws other masks"
WORKERS = "workers"
START = "before the first step only"
UNUSED = "a run does not read it"

ABSENT = "-"
"""`Option.trl` of an option that TRL does not have."""


class Option(NamedTuple):
    """One option of a config."""

    key: str
    values: Values
    meaning: str
    off: tuple[Any, ...] = ()
    """Values that switch it off, beside `values`."""
    off_means: str = ""
    trl: str = ""
    """Name in TRL, PEFT or transformers; "" if it is the same, `ABSENT` if there is none."""
    may_change: str = ""
    """Why it may change between two starts of a run; "" if it may not."""
    optional: bool = False
    """A config may leave it out."""


def _at(group: str, *options: Option) -> tuple[Option, ...]:
    return tuple(option._replace(key=f"{group}.{option.key}") for option in options)


_OPTIMIZER = (
    Option("what", one_of(*WHAT), "train the adapters, or all of the decoder", trl="use_peft"),
    Option("learning_rate", number(low=0), "peak of the schedule; 0 changes no weight"),
    Option("optim", one_of(*OPTIMIZERS), "the optimizer; muon is for matrices, the rest has AdamW"),
    Option("lr_scheduler_type", one_of(*SCHEDULES),
           "learning rate after the warm-up; constant has no warm-up"),
    Option("warmup_steps", steps_or_share(),
           "steps from 0 to learning_rate; below 1 a share of all steps", (0,), "no warm-up"),
    Option("adam_beta1", number(0, below=1), "decay of the mean of gradients"),
    Option("adam_beta2", number(0, below=1), "decay of the mean of their squares"),
    # below float32's smallest number a gradient of zeros would be 0 / 0
    Option("adam_epsilon", number(1e-30), "added to the root of that mean"),
    Option("weight_decay", number(above=0), "pulls weights to 0, norms and biases too", (0,),
           "no decay"),
    Option("max_grad_norm", number(above=0), "clips the global norm", (0, None), "no clipping"),
    Option("max_steps", whole(1), "updates (grpo: rollouts) in all; instead of num_train_epochs",
           (-1, 0), "num_train_epochs decides", may_change=DURATION),
    Option("num_train_epochs", number(above=0), "passes over the data", (0,), "max_steps decides",
           may_change=DURATION),
    Option("gradient_accumulation_steps", whole(1),
           "parts that the batch of a step is split into; a part more needs less memory; grpo, "
           "beta 0: parts whose groups have equal rewards are skipped",
           may_change=LAYOUT + DROPOUT),
    Option("logps_chunk", whole(1), "positions whose logits exist at once", trl=ABSENT,
           may_change=LAYOUT),
    Option("length_multiple", whole(1), "padded lengths are multiples of it",
           trl="pad_to_multiple_of", may_change=PADDING + DROPOUT),
    Option("image_weight", number(above=0), "an image token counts as so many", (0,),
           "left out of the loss", ABSENT),
    Option("logging_steps", whole(1), "steps between two lines of metrics", (0,),
           "the last step only", may_change=RECORDS),
    Option("save_steps", whole(1), "steps between two checkpoints", (0,),
           "after the last step only", may_change=RECORDS),
    Option("save_total_limit", whole(1), "checkpoints that are kept", (None, 0), "all are kept",
           may_change=RECORDS),
)  # fmt: skip

_SFT = (
    Option("learn", text(),
           "tokens that are learned: chain (and answer), or what else the backbone offers",
           trl="completion_only_loss"),
    Option("eos", flag(), "learn the end of a reply", trl=ABSENT),
    Option("batch_size", whole(1), "rows of a step, over all devices",
           trl="per_device_train_batch_size x devices x gradient_accumulation_steps"),
    Option("length_buckets", whole(1), "padded lengths, so many compiled programs", trl=ABSENT,
           may_change=PADDING + DROPOUT),
)  # fmt: skip

_SAMPLING = (
    Option("max_completion_length", whole(1), "most tokens of a completion"),
    Option("temperature", number(above=0),
           "divides the logits; to take the likeliest, eval.greedy=true"),
    Option("image_temperature", number(above=0), "the same for the tokens of pictures", (None,),
           "temperature", ABSENT),
    Option("top_p", number(above=0, high=1),
           "smallest set of tokens with that probability; 1 keeps all"),
    Option("top_k", whole(1), "the likeliest tokens", (0, None), "keeps all tokens"),
    Option("min_p", number(above=0, high=1),
           "tokens with at least that share of the likeliest one's probability", (0, None),
           "keeps all tokens"),
    Option("repetition_penalty", number(above=0),
           "above 1, text tokens seen before are less likely; 1 changes nothing"),
)  # fmt: skip

_GRPO = (
    Option("prompts_per_step", whole(1), "prompts of a step, over all devices",
           trl="generation_batch_size / num_generations"),
    Option("num_generations", whole(2),
           "completions per prompt; a sample is compared with the others"),
    Option("dynamic_sampling", flag(),
           "sample further prompts until the rewards of every group differ (DAPO; in verl "
           "filter_groups.enable)", trl=ABSENT),
    Option("max_num_gen_batches", whole(1),
           "with dynamic_sampling, batches that a step samples at most; then equal groups fill up",
           trl=ABSENT),
    Option("num_iterations", whole(1), "updates per rollout"),
    Option("rollout_micro_batches", whole(1),
           "parts that the prompts are sampled in; the KV cache holds one", trl=ABSENT,
           may_change=LAYOUT),
    Option("reward_funcs", names(),
           "rewards by name or file.py:function; the first says what is right"),
    Option("reward_weights", numbers(), "one weight per reward", (None, ()), "all 1"),
    Option("image_reward_funcs", names(),
           "those of reward_funcs, of pictures, whose advantage only image tokens have, added to "
           "that of the others (arXiv 2606.14792)", ((),), "all tokens have the same", ABSENT),
    Option("process_reward_funcs", names(),
           "those of reward_funcs that score parts of a chain: each part has its own advantage, "
           "added to that of the others (arXiv 2402.03300, 4.1.3)", ((),),
           "all tokens have the same", ABSENT),
    Option("reward_timeout", number(above=0), "seconds that a reward may take for each sample",
           trl=ABSENT, may_change=WORKERS),
    Option("reward_processes", whole(1), "processes that compute rewards", trl=ABSENT,
           may_change=WORKERS),
    Option("chat", one_of("auto", True, False),
           "TRL rewards get messages (True) or strings; auto: what each reads", trl=ABSENT),
    Option("scale_rewards", one_of(*SCALES[:-1], True),
           "divides advantages by the std of the group (True) or of the batch", ("none", False),
           "not divided"),
    Option("multi_objective_aggregation", one_of(*AGGREGATIONS),
           "order of summing and scaling several rewards"),
    Option("loss_type", one_of(*LOSS_TYPES), "the objective"),
    Option("importance_sampling_level", one_of(*LEVELS), "unit of the importance ratio"),
    Option("epsilon", number(low=0), "lower clip of the ratio, 1 - epsilon"),
    Option("epsilon_high", number(low=0), "upper clip, 1 + epsilon_high; cispo: the cap itself",
           (None,), "epsilon"),
    Option("delta", number(above=1), "cap on the ratio where the advantage is below 0", (None,),
           "no cap"),
    Option("sapo_temperature_pos", number(above=0),
           "sapo: temperature of the gate for advantages above 0"),
    Option("sapo_temperature_neg", number(above=0), "sapo: the same for those below 0"),
    Option("beta", number(above=0), "weight of the divergence from the reference", (0,),
           "no reference"),
    Option("use_bias_correction_kl", flag(), "multiplies the divergence by the ratio"),
    Option("text_weight", number(above=0), "a text token counts as so many", (0,),
           "left out of the loss", ABSENT),
    Option("mask_truncated_completions", flag(), "leaves out completions without an end"),
    Option("preflight", flag(), "sample one batch first; stop if it has nothing to learn from",
           trl=ABSENT, may_change=START),
    Option("log_completions_steps", whole(1), "steps between two files of completions", (0,),
           "none", "log_completions", RECORDS),
    Option("num_completions_to_print", whole(1), "completions in the printed table", (0,),
           "no table", may_change=RECORDS),
    Option("kl_steps", whole(1), "with beta 0, steps between two measurements of the divergence",
           (0,), "none", ABSENT, RECORDS),
    Option("eval_steps", whole(1), "steps between two evaluations", (0,), "none",
           may_change=RECORDS),
    Option("eval_count", whole(1), "validation questions of each", trl=ABSENT, may_change=RECORDS),
    Option("num_generations_eval", whole(1), "above 1, sampled answers per question, for pass@k"),
    Option("metric_for_best_model", text(), "accuracy, pass@1 or pass@k", (None, ""),
           "no best checkpoint"),
    Option("load_best_model_at_end", flag(), "go on with the best evaluated weights"),
    Option("prompt_buckets", whole(1), "padded lengths of prompts, so many compiled programs",
           trl=ABSENT, may_change=PADDING),
)  # fmt: skip

_EVAL = (
    Option("greedy", flag(), "take the likeliest token", trl="do_sample=False"),
    Option("batch_size", whole(1), "questions answered at once, over all devices",
           trl="per_device_eval_batch_size x devices", may_change=LAYOUT),
    Option("length_multiple", whole(1), "padded lengths are multiples of it",
           trl="pad_to_multiple_of", may_change=PADDING),
    Option("num_generations", whole(1), "answers per question", optional=True),
    Option("only", names(), "names of the sets that are evaluated", ((),), "all of eval.sets",
           ABSENT, RECORDS, optional=True),
    Option("checkpoints", names(),
           "checkpoints that are evaluated into series.json once the stages are complete: all, "
           "STAGE, STAGE:STEP, STAGE:best or STAGE:last", ((),), "none", ABSENT, RECORDS,
           optional=True),
    Option("sample_formats", some_of("lmms_eval", "vlmevalkit"),
           "files of answers for other harnesses, in samples/", ((),), "none", ABSENT, RECORDS,
           optional=True),
    Option("count", whole(1), "puzzlevqa: questions of each trained kind", trl=ABSENT,
           optional=True),
    Option("transfer_count", whole(1), "puzzlevqa: questions of each other kind", trl=ABSENT,
           optional=True),
    Option("picture_ablation", flag(), "continue chains from their own, other or no pictures",
           trl=ABSENT, optional=True, may_change=RECORDS),
)  # fmt: skip

_LOG = (
    Option("tracker", one_of("wandb", "trackio", "mlflow"),
           "also gets metrics, config and completions with pictures", ("none",), "none",
           "report_to", RECORDS, optional=True),
    Option("project", text(), "its project, or MLflow's experiment", may_change=RECORDS,
           optional=True),
)  # fmt: skip

_AXIS = "devices along this axis"
_MESH = (
    Option("data", whole(1), f"copies of the model: {_AXIS}", (-1,), "the remaining devices",
           ABSENT, LAYOUT),
    Option("fsdp", whole(1), f"parts of the weights: {_AXIS}", (-1,), "the remaining devices",
           ABSENT, LAYOUT),
    Option("tensor", whole(1), f"parts of every layer: {_AXIS}", (-1,), "the remaining devices",
           ABSENT, LAYOUT),
)  # fmt: skip

_DATA = (
    Option("count", whole(1), "examples (puzzles, shapes: of each kind)", (0,), "all of a data set",
           ABSENT),
    Option("validation_count", whole(1), "examples kept for validation", (0,), "none", ABSENT),
    Option("seed", whole(0, LARGEST), "of drawn questions", trl=ABSENT),
    Option("kinds", names(), "kinds of questions", trl=ABSENT),
    Option("sets", names(), "viscot: data sets; pope: subsets", trl=ABSENT),
    Option("subset", one_of("all", "study"),
           "benchmarks: study is the 2,000 questions that the study drew", trl=ABSENT),
    Option("llava_questions", text(), "benchmarks: LLaVA's question file", ("",),
           "the questions of the release", ABSENT),
    Option("llava_answers", text(), "benchmarks: LLaVA's answers, to compare with the study",
           ("",), "none", ABSENT),
    Option("size", whole(1), "side of drawn pictures, pixels", trl=ABSENT),
    Option("canvas", whole(3), "frozenlake, maze: cells along a side of a picture", (None,),
           "a grid fills its picture", ABSENT),
    Option("max_steps", whole(1), "frozenlake, maze: moves of a random walk, at most", (None,),
           "twice the side of its grid", ABSENT),
    Option("min_moves", whole(1), "frozenlake, maze: moves of the shortest path, at least",
           trl=ABSENT),
    Option("max_moves", whole(1), "frozenlake, maze: moves of the shortest path, at most", (None,),
           "any number", ABSENT),
    Option("guesses", number(above=0, high=1), "share of chains that guess", (0,), "none", ABSENT),
    Option("processes", whole(1), "processes that draw", (0,), "the main process draws",
           "dataset_num_proc", WORKERS),
    Option("progress", flag(), "show a bar while drawing", trl=ABSENT, may_change=RECORDS),
)  # fmt: skip

_MODEL = (
    Option("backbone", text(), "chameleon, seed_llama, qwen25vl, or the path of your own",
           trl=ABSENT),
    Option("weights", text(), "folder of a released model, or a hub repository ORG/NAME", ("",),
           "random weights", "model_name_or_path"),
    Option("adapter", text(), "PEFT adapter to start from", ("",), "a new one", ABSENT),
    Option("context", whole(1), "most tokens of a row: prompt and completion", trl="max_length"),
    Option("min_pixels", whole(1), "smaller images are enlarged", optional=True),
    Option("max_pixels", whole(1), "larger images are reduced", optional=True),
    Option("lora.rank", whole(1), "width of the adapters", (0,), "no adapters", "lora_r"),
    Option("lora.alpha", number(above=0), "adapters are scaled by alpha / rank", trl="lora_alpha"),
    Option("lora.dropout", number(above=0, below=1), "share of inputs dropped in sft", (0,), "none",
           "lora_dropout"),
    Option("lora.targets", names(),
           "layers with an adapter: q k v o gate up down head, PEFT's names, or all-linear", ((),),
           "no adapters", "lora_target_modules"),
)  # fmt: skip

_DECODER = (
    Option("vocab", whole(1), "token ids", trl="vocab_size"),
    Option("width", whole(1), "channels of a token", trl="hidden_size"),
    Option("layers", whole(1), "layers", trl="num_hidden_layers"),
    Option("heads", whole(1), "attention heads; divide width", trl="num_attention_heads"),
    Option("kv_heads", whole(1), "heads of keys and values; divide heads",
           trl="num_key_value_heads"),
    Option("mlp", whole(1), "channels within an MLP", trl="intermediate_size"),
    Option("eps", number(above=0), "of the norms", trl="rms_norm_eps", optional=True),
    Option("rope_theta", number(above=0), "base of the rotary angles", optional=True),
    Option("rope_sections", whole_numbers(1), "channel pairs per position axis: frame, row, column",
           ((),), "one axis", "mrope_section", optional=True),
    Option("dtype", one_of("float32", "bfloat16"), "type of activations", trl="bf16",
           optional=True),
    Option("param_dtype", one_of("float32", "bfloat16"),
           "type of stored weights; what=all needs float32", trl="dtype", optional=True),
    Option("base_dtype", one_of("int8"),
           "type of the frozen kernels, embedding and head; int8 needs what=lora", (None,),
           "param_dtype", "load_in_8bit", optional=True),
    Option("remat", flag(), "recompute activations in the backward pass",
           trl="gradient_checkpointing", may_change=LAYOUT, optional=True),
    Option("remat_policy", one_of("nothing", "dots"), "what is saved nevertheless", trl=ABSENT,
           may_change=LAYOUT, optional=True),
    Option("unroll", whole(1), "layers per iteration of the loop over layers", trl=ABSENT,
           may_change=LAYOUT, optional=True),
    Option("embed_init", number(low=0), "std of new embeddings", trl="initializer_range",
           optional=True),
    Option("out_init", number(low=0), "std of new weights that write to the residual stream",
           trl=ABSENT, optional=True),
    Option("qk_init", number(above=0), "value of new qk-norm scales", trl=ABSENT, optional=True),
    Option("qk_norm", flag(), "normalise queries and keys", trl=ABSENT, optional=True),
    Option("norm_after", flag(), "normalise outputs of sublayers", trl="swin_norm", optional=True),
    Option("tied", flag(), "the head is the embedding", trl="tie_word_embeddings", optional=True),
)  # fmt: skip

_PLAN = (
    Option("prompt_tokens", whole(1), "plan: tokens of the longest prompt", trl=ABSENT,
           may_change=UNUSED),
    Option("prompt_slots", whole(0), "plan: its most images", trl=ABSENT, may_change=UNUSED),
    Option("row_tokens", whole(1), "plan: tokens of the longest supervised row", trl=ABSENT,
           may_change=UNUSED),
    Option("row_slots", whole(0), "plan: its most images", trl=ABSENT, may_change=UNUSED),
)  # fmt: skip

_PAINTING = (
    Option("scheduler", one_of("pndm", "ddim"), "how noise is removed", trl=ABSENT, optional=True),
    Option("steps", whole(1, 1000), "steps from noise to a picture", trl=ABSENT, optional=True),
    Option("guidance", number(low=1), "weight of the embedding against none", trl=ABSENT,
           optional=True),
    Option("noise_level", whole(0, 999), "noise on the embedding", trl=ABSENT, optional=True),
    Option("size", whole(8), "height and width of a picture, in pixels", trl=ABSENT,
           optional=True),
    Option("embedding", whole(1), "channels of what is painted", trl=ABSENT, optional=True),
    Option("prompt_tokens", whole(1), "of the empty prompt", trl=ABSENT, optional=True),
    Option("unet.attention", flags(), "levels that attend", trl=ABSENT, optional=True),
    Option("vae.scale", number(above=0), "latents are means times this", trl=ABSENT,
           optional=True),
)  # fmt: skip

OPTIONS: tuple[Option, ...] = (
    Option("seed", whole(0, LARGEST), "of weights, order of data, samples"),
    Option("stages", names(), "sft, grpo and eval, in order", trl=ABSENT),
    Option("rollout_mesh", group("a group with data, fsdp and tensor"), "another mesh for sampling",
           (None,),
           "the same", ABSENT, LAYOUT),
    Option("rollout_keep", flag(), "frozen weights stay on both meshes, or are resharded", (None,),
           "both, if they need at most half of a device", ABSENT, LAYOUT),
    *_at("log", *_LOG),
    *_at("sft", *_OPTIMIZER, *_SFT),
    *_at("grpo", *_OPTIMIZER, *_SAMPLING, *_GRPO),
    *_at("eval", *_SAMPLING, *_EVAL),
    *_at("mesh", *_MESH),
    *_at("rollout_mesh", *(option._replace(optional=True) for option in _MESH)),
    *_at("data.*", *(option._replace(optional=True) for option in _DATA)),
    Option("data.task", text(), "data set, by name or path/to/x.py", trl="dataset_name"),
    Option("data.store", text(), "folder of prepared rows", ("",), "rows are made now", ABSENT),
    Option("data.shards", whole(1), "files of a store", trl=ABSENT, may_change=UNUSED),
    Option("data.tokenize_batch", whole(1), "images tokenised at once", trl=ABSENT,
           may_change=LAYOUT),
    Option("data.on_bad_record", one_of("raise", "skip"), "a record that cannot be used",
           trl=ABSENT, optional=True),
    Option("data.max_bad", number(above=0, high=1), "largest share of a set that skip leaves out",
           (0,), "none", ABSENT, optional=True),
    Option("data.max_image_pixels", whole(1), "a picture of more pixels cannot be used", trl=ABSENT,
           optional=True),
    *_at("model", *_MODEL, *_at("decoder", *_DECODER)),
    Option("model.vision.eps", number(above=0), "of the norms", trl="rms_norm_eps", optional=True),
    Option("model.vision.rope_theta", number(above=0), "base of the rotary angles", trl=ABSENT,
           optional=True),
    Option("model.unclip_weights", text(), "folder of Stable unCLIP, which paints SEED's pictures",
           ("",), "pictures have no pixels", ABSENT, optional=True),
    Option("model.clip_weights", text(), "folder of a CLIP, which compares painted pictures",
           ("",), "none", ABSENT, optional=True),
    *_at("model.unclip", *_PAINTING),
    Option("model.TOWER.*", sizes(), "sizes of an image model", trl=ABSENT, optional=True),
    *_at("plan", *_PLAN),
)  # fmt: skip
"""All options, in the order of the config."""
