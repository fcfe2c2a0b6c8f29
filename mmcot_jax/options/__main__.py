"""Prints all options as Markdown; with `--trl` only those that TRL names otherwise."""

import sys

from mmcot_jax.options import markdown

print(markdown.other_names() if "--trl" in sys.argv[1:] else markdown.all_options(), end="")
