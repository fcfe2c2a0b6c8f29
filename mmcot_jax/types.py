"""The nouns of the device: arguments of jitted functions, and the protocol of a backbone.

Axes: B rows, G samples per prompt, N prompts or pictures, M images in a row (BM: in all rows),
P prompt tokens, T time, W cache slots, V vocabulary, D width, L layers, H heads, K kv heads (of a
cache) or ids (of a picture), C head channels, A position axes (1, or 3 for M-RoPE).
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree, UInt8

from mmcot_jax.example import Renderer

Variables = dict[str, Any]
"""{"params": weights, "lora": adapters}. Without "lora" the model has no adapters."""


class Pixels(NamedTuple):
    """Images of a batch, and the positions of their placeholders."""

    images: UInt8[Array, "B M h w 3"]
    starts: Int[Array, "B M"]
    """Index in `tokens` of each image's first placeholder; -1 for an unused image slot."""


class Batch(NamedTuple):
    """Rows padded to one length, on the left (prompts) or on the right (supervised)."""

    tokens: Int[Array, "B T"]
    """Images are placeholders until `Backbone.prepare` fills them."""
    positions: Int[Array, "A B T"]
    """Computed on the host and carried; padding is not recognised by its ids."""
    valid: Bool[Array, "B T"]
    """False on padding; attention masks are made from it alone."""
    loss: Bool[Array, "B T"]
    """True where the token is a target of the loss, at the position before it."""
    pixels: PyTree | None = None
    """`Pixels`, or `example.Windows` with rows first; None after `Backbone.prepare`."""
    embeds: Float[Array, "B P D"] | None = None
    """Embeddings that replace those of the placeholders among the first P tokens. P is T, or less
    if a completion was appended."""


def fill_image_ids(batch: Batch, ids: Int[Array, "BM K"]) -> Batch:
    """Writes the ids of `batch.pixels` over their placeholders, and drops the pixels."""
    starts = Pixels(*batch.pixels).starts
    b, m = starts.shape
    at = starts[..., None] + jnp.arange(ids.shape[-1])
    # unused image slots index past the row, and are dropped
    at = jnp.where(starts[..., None] < 0, batch.tokens.shape[1], at)
    rows = jnp.arange(b)[:, None, None]
    tokens = batch.tokens.at[rows, at].set(ids.reshape(b, m, -1), mode="drop")
    return batch._replace(tokens=tokens, pixels=None)


def row_axes(tree: Any) -> Any:
    """Index of the row axis of each array of a batch, a rollout or an experience."""

    def axis(path, _):
        return int(bool(path) and getattr(path[-1], "name", None) == "positions")

    return jax.tree_util.tree_map_with_path(axis, tree)


def split_microbatches(rows: Any, parts: int) -> Any:
    """Reshapes each array to [parts, ...]; row b goes to part b mod `parts`.

    So every device holds rows of every part.
    """

    def one(x: Array, axis: int) -> Array:
        x = jnp.moveaxis(x, axis, 0)
        x = jnp.moveaxis(x.reshape(-1, parts, *x.shape[1:]), 1, 0)
        return jnp.moveaxis(x, 1, axis + 1)

    return jax.tree.map(one, rows, row_axes(rows))


def merge_microbatches(pieces: Any) -> Any:
    """Inverse of `split_microbatches`."""
    axes = row_axes(pieces)

    def one(x: Array, axis: int) -> Array:
        x = jnp.moveaxis(x, axis + 1, 1)  # [parts, rows, ...]
        x = jnp.moveaxis(x, 0, 1).reshape(-1, *x.shape[2:])
        return jnp.moveaxis(x, 0, axis)

    return jax.tree.map(one, pieces, axes)


class PromptCache(NamedTuple):
    """Keys and values of prompts, each of which several rows continue; read only."""

    k: Float[Array, "L N K P C"] | tuple[Float[Array, "N K P C"], ...]
    v: Float[Array, "L N K P C"] | tuple[Float[Array, "N K P C"], ...]
    valid: Bool[Array, "N P"]
    """False on padding."""


class Cache(NamedTuple):
    """Keys and values of the tokens so far. All rows write the same slot: prompts end together.

    All layers share one stacked array; on a CPU, if they are unrolled, each has its own. The
    sampler gives the latter the slots and rows in use. A stacked one keeps its size: an accelerator
    has no room for two.
    """

    k: Float[Array, "L B K W C"] | tuple[Float[Array, "B K W C"], ...]
    v: Float[Array, "L B K W C"] | tuple[Float[Array, "B K W C"], ...]
    valid: Bool[Array, "B W"]
    """False on padding and on slots not written yet."""
    length: Int[Array, ""]
    """Number of written slots."""
    prompt: PromptCache | None = None
    """Before the slots of rows n G .. n G + G - 1 is prompt n, which exists once."""
    rows: Int[Array, "S B/S"] | None = None
    """Permutation of each shard's rows: the row that is now at i was row `rows[s, i]` of shard s
    in the order of the prompts. If it is given, a batch may be the first R rows of each of the S
    shards, and only those are computed. None: rows are in the order of their prompts."""


class Grammar(NamedTuple):
    """Text until `boi`, then exactly `image_len` image tokens, then `eoi`. Text only: image_len 0.

    State is one int a row: 0 = text, k > 0 = k - 1 image tokens and `eoi` still to come.
    """

    is_image: Bool[Array, "V"]
    is_text: Bool[Array, "V"]
    """Ids that text may have: those of the tokenizer, without marks and EOS."""
    boi: int = -1
    eoi: int = -1
    eos: tuple[int, ...] = ()
    image_len: int = 0


class Rollout(NamedTuple):
    """Sampled completions, with all that the loss needs to score them again."""

    prompt: Batch
    """N rows: a prompt exists once for all of its G completions."""
    tokens: Int[Array, "N G T"]
    state: Int[Array, "N G T"]
    """Grammar state before each token; the loss rebuilds the grammar's mask from it."""
    room: Int[Array, "N G T"]
    """Tokens left in the budget before each token; decides whether an image still fitted."""
    sampled: Bool[Array, "N G T"]
    """False where the grammar left no choice, and after EOS; EOS itself is True."""
    valid: Bool[Array, "N G T"]
    """False after EOS."""
    logps: Float[Array, "N G T"]
    """Nats, under the grammar, temperature and truncation that sampled."""
    decoded: Int[Array, "N G"] | None = None
    """Tokens that the sampler decoded: those of the completion, and those after its end. None in
    the trainer's rows."""


class SharedPrompt(NamedTuple):
    """The layout of rows [prompt | completion 1 | ... | completion G]; hashable.

    A completion attends to the prompt and to itself.
    """

    prompt: int
    """P, tokens of the prompt."""
    completion: int
    """T, tokens of each completion."""


class Experience(NamedTuple):
    """Rollouts with their advantages, and their log-probabilities under other policies."""

    rollout: Rollout
    advantage: Float[Array, "N G"]
    """NaN where there is no reward: the completion is left out of the loss."""
    old_logps: Float[Array, "N G T"] | None = None
    """Nats, of the trainer before the first of several updates; None if there is only one."""
    ref_logps: Float[Array, "N G T"] | None = None
    """Nats, of the reference policy; None if it is not used."""
    image_advantage: Float[Array, "N G"] | None = None
    """Added to `advantage` on image tokens, NaN counts as 0; None: nothing is added."""
    token_advantage: Float[Array, "N G T"] | None = None
    """Added to the advantage of each token, summed over the parts of process rewards that it is in;
    None: there is no process reward."""


class TrainState(NamedTuple):
    """Everything that changes, and is checkpointed."""

    step: Int[Array, ""]
    trained: PyTree
    """The adapters, or the decoder. Frozen weights are passed beside the state."""
    opt: optax.OptState


@runtime_checkable
class Backbone(Protocol):
    """A pretrained multimodal language model.

    It is immutable and hashable, a static argument of jit.
    """

    renderer: Renderer
    context: int
    """Longest row that the model accepts, in tokens."""
    position_axes: int
    image_outputs: tuple[str, ...]
    """Fields of a `Picture` that it computes from ids: "pixels" by `paint`, "embedding" by a method
    `embed(variables, ids [N K]) -> [N E]`, "clip" by `embed_pixels(variables, pixels) -> [N E]` of
    what it paints. Only a backbone with the field has the method. One with "clip" also has
    `text_ids(texts) -> int32 [N L]`, on the host, and `embed_texts(variables, ids) -> [N E]`, of
    the same space."""

    @property
    def grammar(self) -> Grammar:
        """The tokens that may follow one another."""
        ...

    def init(self, key: jax.Array) -> Variables:
        """Random weights."""
        ...

    def prepare(self, variables: Variables, batch: Batch) -> Batch:
        """Replaces `batch.pixels` by ids (VQGAN, SEED) or embeds (ViT)."""
        ...

    def tokenize(self, variables: Variables, images: UInt8[Array, "N h w 3"]) -> Int[Array, "N K"]:
        """Images -> token ids; raises if the backbone turns pixels into embeds."""
        ...

    def __call__(
        self,
        variables: Variables,
        batch: Batch,
        cache: Cache | None = None,
        *,
        window: int | None = None,
        dropout: jax.Array | None = None,
        shared: SharedPrompt | None = None,
    ) -> tuple[Float[Array, "B T D"], Cache | None]:
        """Hidden states after the last norm, and the cache with the batch written.

        Only the first `window` slots of the cache are read, a number that holds all written ones;
        None: all slots. `dropout` is a key, or None. `shared` is the layout of rows of several
        completions.
        """
        ...

    def unembed(self, variables: Variables, hidden: Float[Array, "*B D"]) -> Float[Array, "*B V"]:
        """float32 logits, for the sampler and the loss."""
        ...

    def init_cache(self, batch: int, slots: int, prompts: Cache | None = None) -> Cache:
        """An empty cache, for rows that continue the N `prompts`, batch / N each, if given.

        All slots of `prompts` are written. They become the `Cache.prompt`, uncopied.
        """
        ...

    def paint(
        self, variables: Variables, ids: Int[Array, "N K"], keys: jax.Array
    ) -> UInt8[Array, "N h w 3"]:
        """Picture ids and a key each -> pixels if `image_outputs` has "pixels"; else raises."""
        ...
