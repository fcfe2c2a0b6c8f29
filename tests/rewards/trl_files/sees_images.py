"""Compares a reply with the size of the question's picture."""


def names_the_width(completions, images, **kwargs):
    widths = [str(pictures[0].width) for pictures in images]
    return [float(width in text) for width, text in zip(widths, completions, strict=True)]
