"""Times GRPO steps of TRL on a small Qwen2.5-VL of random weights; see `trl_steps.py`."""

import numpy as np
import trl_steps
from PIL import Image
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

MARKS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
TEMPLATE = """{% for m in messages %}{% for p in m.content %}{% if p.type == 'image' -%}
<|vision_start|><|image_pad|><|vision_end|>{% else -%}
 {{ p.text }}{% endif %}{% endfor %}{% endfor %}"""
CELL = 28


class Processor(Qwen2_5_VLProcessor):
    """The processor without videos, which need torchvision."""

    def __init__(self, image_processor=None, tokenizer=None, chat_template=None):
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template)

    @classmethod
    def get_attributes(cls):
        """Names the parts."""
        return ["image_processor", "tokenizer"]


def main() -> None:
    """Reads the flags and runs."""
    flags = trl_steps.parser()
    flags.add_argument("--pixels", type=int, default=336, help="side of the image")
    args = flags.parse_args()
    tokenizer = trl_steps.tokenizer(*MARKS)
    start, end, image, video = tokenizer.convert_tokens_to_ids(list(MARKS))
    rope = {"rope_type": "default", "mrope_section": [8, 12, 12], "rope_theta": 1e6}
    config = Qwen2_5_VLConfig(
        text_config=trl_steps.DECODER | {"rope_parameters": rope},
        vision_config={
            "depth": 4,
            "hidden_size": 128,
            "num_heads": 4,
            "intermediate_size": 256,
            "out_hidden_size": trl_steps.DECODER["hidden_size"],
            "fullatt_block_indexes": [3],
            "window_size": 112,
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
        tie_word_embeddings=False,
    )
    processor = Processor(
        Qwen2VLImageProcessorPil(min_pixels=CELL**2, max_pixels=args.pixels**2),
        tokenizer,
        chat_template=TEMPLATE,
    )
    cells = (args.pixels // CELL) ** 2
    words = " ".join(f"w{number}" for number in range(args.prompt_tokens - cells - 2))
    noise = np.random.default_rng(0).integers(0, 256, (args.pixels, args.pixels, 3), np.uint8)
    prompt = [{"role": "user", "content": words}]
    rows = [{"prompt": prompt, "image": Image.fromarray(noise)}] * 64
    trl_steps.run(args, Qwen2_5_VLForConditionalGeneration(config), processor, rows)


if __name__ == "__main__":
    main()
