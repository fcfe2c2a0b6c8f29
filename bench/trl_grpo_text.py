"""Times GRPO steps of TRL on a small LLaMA of random weights; see `trl_steps.py`."""

import trl_steps
from transformers import LlamaConfig, LlamaForCausalLM


def main() -> None:
    """Reads the flags and runs."""
    args = trl_steps.parser().parse_args()
    model = LlamaForCausalLM(LlamaConfig(**trl_steps.DECODER))
    words = " ".join(f"w{number}" for number in range(args.prompt_tokens))
    trl_steps.run(args, model, trl_steps.tokenizer(), [{"prompt": words}] * 64)


if __name__ == "__main__":
    main()
