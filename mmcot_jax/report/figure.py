"""Figure 4, scores of checkpoints against the share of training, as PNG and SVG. Host only."""

import pathlib
from collections.abc import Mapping, Sequence

NAMES = {
    "gqa": "GQA", "pope": "POPE", "vqav2": "VQAv2", "scienceqa": "ScienceQA", "textvqa": "TextVQA",
    "vizwiz": "VizWiz",
}  # fmt: skip
COLORS = ("#2b5cc4", "#d0342c", "#1a7f4b", "#8f45b5", "#c07a00", "#008391", "#6b6b6b")
"""Of the runs, as on the page."""


def draw(
    path: pathlib.Path,
    lines: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    dashed: Mapping[str, float],
    x_label: str,
    y_label: str = "exact match, %",
) -> list[pathlib.Path]:
    """Draws a panel for each data set into `path`.png and `path`.svg; returns both.

    `lines` are its points (x, percent) by run; `dashed`, where given, a level to compare with.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise ValueError("figures need matplotlib; pip install 'mmcot_jax[report]'") from None
    matplotlib.use("agg")
    matplotlib.rcParams["text.parse_math"] = False  # a run's name may hold $
    from matplotlib import pyplot

    columns = min(3, len(lines))
    rows = -(-len(lines) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(3.2 * columns, 2.5 * rows), squeeze=False
    )
    for panel in axes.flat[len(lines) :]:
        panel.set_axis_off()
    runs = list(dict.fromkeys(run for own in lines.values() for run in own))
    for panel, (name, own) in zip(axes.flat, lines.items(), strict=False):
        for run, points in own.items():
            xs, ys = zip(*points, strict=True) if points else ((), ())
            color = COLORS[runs.index(run) % len(COLORS)]
            panel.plot(xs, ys, marker="o", markersize=3.5, color=color, label=run)
        if name in dashed:
            panel.axhline(dashed[name], linestyle="--", color="#6b6b6b", linewidth=1)
        panel.set_title(NAMES.get(name, name), fontsize=10 if name in NAMES else 7)
        panel.tick_params(labelsize=8)
        panel.grid(alpha=0.3)
        panel.set_xlabel(x_label, fontsize=8)
    if len(runs) > 1:
        axes.flat[0].legend(fontsize=7)
    figure.supylabel(y_label, fontsize=9)
    figure.tight_layout()
    made = [path.with_suffix(suffix) for suffix in (".png", ".svg")]
    for file in made:
        figure.savefig(file, dpi=150)
    pyplot.close(figure)
    return made
