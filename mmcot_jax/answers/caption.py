"""The words of a caption, as tasks count them and rewards compare them."""

import re

WORD = re.compile(r"[\w?]+")
"""Letters and digits, or the `?` of a missing part: "['?', 'red']" has two."""
