"""Pictures of a corpus: how large its documents are, how long its lines are, and what each stage left.

Sizes cover all documents. Line lengths cover at most SAMPLED_GROUPS row groups, spread evenly over the shards, so the cost does
not grow with the corpus, apart from one column of whole numbers. The same corpus gives the same bytes.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from codeparrot import figures
from codeparrot.corpus.documents import CONTENT, SIZE
from codeparrot.corpus.report.reading import Folder
from codeparrot.figures import Palette, count_in_words, size_in_words
from codeparrot.stream.readers.parquet import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES = (5.2, 2.8)
"""Small, so that the words can still be read on a page 420 pixels wide."""
WORDS, TITLE = 8.5, 10
"""Points."""
BAR_INCHES = 0.2
"""Height of a stage in the waterfall, at least."""
SAMPLED_GROUPS = 64
LONGEST_LINE = 160
"""Characters; the last bar of the picture holds all longer lines."""
LINE_STEP = 5
WATERFALL = "waterfall.png"
LANGUAGES = "languages.png"
NUM_LANGUAGES = 5
"""That have a colour of their own; the others share one."""


class Bars(NamedTuple):
    """A histogram: `counts[i]` values lie from `edges[i]` to below `edges[i + 1]`."""

    edges: list[float]
    counts: list[int]


class Picture(NamedTuple):
    file: str
    caption: str
    draw: "Callable[[Axes, Palette], None]"
    inches: tuple[float, float] = INCHES


def pictures_of(folder: Folder, statistics: dict[str, Any]) -> list[Picture]:
    """Return the pictures of the corpus in `folder`."""
    files = [folder / shard["file"] for split in statistics["splits"].values() for shard in split["shards"]]
    sizes, lines = document_sizes(files), line_lengths(files)
    return [
        waterfall(stages_of(statistics)),
        *_languages(statistics),
        Picture("document_sizes.png", "Documents by their size", lambda axes, look: _sizes(axes, look, sizes)),
        Picture("line_lengths.png", "Lines by their length", lambda axes, look: _lines(axes, look, lines)),
    ]


def waterfall(stages: list[dict[str, Any]]) -> Picture:
    """Return the picture of what each stage left and removed; stages that removed nothing are left out."""
    shown = [stage for stage in stages if stage["removed_files"] or stage["stage"] in ("read", "kept")]
    height = max(INCHES[1], 0.8 + BAR_INCHES * len(shown))
    caption = "Bytes of text left after each stage"
    return Picture(WATERFALL, caption, lambda axes, look: _waterfall(axes, look, shown), (INCHES[0], height))


def _languages(statistics: dict[str, Any]) -> list[Picture]:
    """Return the waterfall by language, if there are several."""
    shares = statistics.get("by_language", statistics.get("languages")) or {}
    if len(shares) < 2:
        return []
    stages = [stage for stage in stages_of(statistics) if stage["removed_files"] or stage["stage"] in ("read", "kept")]
    names = list(shares)[:NUM_LANGUAGES]
    left = {name: bytes_left(shares[name], stages) for name in shares}
    shown = {name: left[name] for name in names}
    if others := [left[name] for name in shares if name not in names]:
        shown[f"{len(others)} other{'s' if len(others) > 1 else ''}"] = [*map(sum, zip(*others, strict=True))]
    caption = "Bytes of text left after each stage, by language"
    height = max(INCHES[1], 1.5 + BAR_INCHES * len(stages))
    places = [stage["stage"].replace("_", " ") for stage in stages]
    return [Picture(LANGUAGES, caption, lambda axes, look: _stacks(axes, look, places, shown), (INCHES[0], height))]


def bytes_left(share: dict[str, Any], stages: list[dict[str, Any]]) -> list[int]:
    """Return how many bytes of a language are left after each of the stages, the last of which is what is kept."""
    left, found = share["read"]["bytes"], []
    for stage in stages:
        left -= share["removed"].get(stage["stage"], {"bytes": 0})["bytes"]
        found.append(left)
    return [*found[:-1], share["bytes"]]


def stages_of(statistics: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the waterfall: each stage's name, the files and bytes left after it and removed by it, and its rule in words."""
    if "waterfall" in statistics:
        return statistics["waterfall"]
    files, size = statistics["read"]["files"], statistics["read"]["bytes"]
    stages = [{"stage": "read", "files": files, "bytes": size, "removed_files": 0, "removed_bytes": 0, "rule": "the sources"}]
    for name, facts in statistics["removed"].items():
        files, size = files - facts["files"], size - facts["bytes"]
        removed = {"removed_files": facts["files"], "removed_bytes": facts["bytes"]}
        stages.append({"stage": name, "files": files, "bytes": size, **removed, "rule": facts["rule"]})
    return stages


def document_sizes(files: Sequence[Folder]) -> Bars:
    """Return how many documents have how many bytes, with two bars for every doubling."""
    import numpy as np

    edges = 2.0 ** np.arange(0, 41, 0.5)
    counts = np.zeros(len(edges) - 1, np.int64)
    for file in files:
        with Table(str(file)) as table:
            for group in range(table.num_groups):
                sizes = table.read(group, [SIZE]).column(SIZE).to_numpy()
                counts += np.histogram(np.maximum(sizes, 1), edges)[0]
    used = np.flatnonzero(counts)
    first, last = (int(used[0]), int(used[-1])) if len(used) else (0, 0)
    return Bars(edges[first : last + 2].tolist(), counts[first : last + 1].tolist())


def line_lengths(files: Sequence[Folder]) -> Bars:
    """Return how many lines have how many characters, in a sample of the row groups; the last bar counts all longer lines."""
    import numpy as np

    edges = np.arange(0, LONGEST_LINE + 2 * LINE_STEP, LINE_STEP)
    counts = np.zeros(len(edges) - 1, np.int64)
    for texts in _sampled_texts(files):
        lengths = np.array([len(line) for text in texts for line in text.splitlines()], np.int64)
        counts += np.histogram(np.minimum(lengths, LONGEST_LINE), edges)[0]
    return Bars(edges.astype(float).tolist(), counts.tolist())


def _sampled_texts(files: Sequence[Folder]) -> Iterator[list[str]]:
    groups: list[tuple[Folder, int]] = []
    for file in files:
        with Table(str(file)) as table:
            groups += [(file, group) for group in range(table.num_groups)]
    for number in range(min(SAMPLED_GROUPS, len(groups))):
        file, group = groups[number * len(groups) // min(SAMPLED_GROUPS, len(groups))]
        with Table(str(file)) as table:
            yield list(table.texts(group, CONTENT))


def render(picture: Picture, palette: Palette) -> bytes:
    """Return a picture as PNG."""
    figure, (axes,) = figures.make(picture.inches, palette=palette)
    axes.set_title(picture.caption, color=palette.ink, fontsize=TITLE, loc="left")
    # Smaller than a stand-alone figure, without a frame, with grid lines only across the bars.
    axes.tick_params(labelsize=WORDS)
    axes.xaxis.label.set_color(palette.faint)
    axes.yaxis.label.set_color(palette.faint)
    axes.spines["bottom"].set_visible(False)
    axes.grid(False)
    picture.draw(axes, palette)
    return figures.png(figure)


def _sizes(axes: "Axes", palette: Palette, bars: Bars) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    widths = [right - left for left, right in zip(bars.edges, bars.edges[1:], strict=False)]
    axes.bar(bars.edges[:-1], bars.counts, widths, align="edge", color=palette.bar, edgecolor=palette.paper, linewidth=0.8)
    axes.set_xscale("log")
    few_decades = bars.edges[-1] < 1000 * bars.edges[0]
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few_decades else (1,), numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: size_in_words(value)))
    axes.set_xlim(bars.edges[0], bars.edges[-1])
    _counts(axes, palette, "documents")


def _lines(axes: "Axes", palette: Palette, bars: Bars) -> None:
    axes.bar(bars.edges[:-1], bars.counts, LINE_STEP, align="edge", color=palette.bar, edgecolor=palette.paper, linewidth=0.8)
    ticks = list(range(0, LONGEST_LINE + 1, 40))
    axes.set_xticks(ticks, [*map(str, ticks[:-1]), f"{LONGEST_LINE} and more"])
    axes.set_xlim(0, LONGEST_LINE + LINE_STEP)
    axes.set_xlabel("characters", fontsize=WORDS)
    _counts(axes, palette, "lines")


def _counts(axes: "Axes", palette: Palette, label: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_ylabel(label, fontsize=WORDS)
    axes.set_ylim(0, 1.05 * max(1, *axes.dataLim.intervaly))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: count_in_words(value)))
    axes.grid(axis="y", color=palette.grid, linewidth=0.8)


def _stacks(axes: "Axes", palette: Palette, stages: list[str], left: dict[str, list[int]]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    places = range(len(stages), 0, -1)
    start = [0] * len(stages)
    for colour, (name, sizes) in zip((*figures.COLOURS[:NUM_LANGUAGES], palette.faint), left.items(), strict=False):
        axes.barh(places, sizes, left=start, height=0.7, label=name, color=colour)
        start = [*map(sum, zip(start, sizes, strict=True))]
    for place, total in zip(places, start, strict=True):
        look = {"color": palette.ink, "fontsize": WORDS - 1, "va": "center"}
        axes.annotate(size_in_words(total), (total, place), (4, 0), textcoords="offset points", **look)
    most = max(1, *start)
    axes.set_xlim(0, 1.18 * most)  # room for the numbers
    axes.set_yticks(list(places), stages)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: size_in_words(value) if value <= most else ""))
    axes.grid(axis="x", color=palette.grid, linewidth=0.8)
    words = {"frameon": False, "fontsize": WORDS, "labelcolor": palette.ink, "ncols": 3}
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.1), **words)


def _waterfall(axes: "Axes", palette: Palette, stages: list[dict[str, Any]]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    names = [stage["stage"].replace("_", " ") for stage in stages]
    places = range(len(stages), 0, -1)
    left = [stage["bytes"] for stage in stages]
    axes.barh(places, left, color=palette.bar, height=0.7)
    gone = [max(0, stage["removed_bytes"]) for stage in stages]
    axes.barh(places, gone, left=left, color=palette.grid, height=0.7)
    for place, kept, removed in zip(places, left, gone, strict=True):
        words = size_in_words(kept) + (f", {size_in_words(-removed)}" if removed else "")
        look = {"color": palette.ink, "fontsize": WORDS - 1, "va": "center"}
        axes.annotate(words, (kept + removed, place), (4, 0), textcoords="offset points", **look)
    most = max(1, *map(sum, zip(left, gone, strict=True)))
    axes.set_xlim(0, 1.4 * most)  # room for the numbers
    axes.set_yticks(list(places), names)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: size_in_words(value) if value <= most else ""))
    axes.grid(axis="x", color=palette.grid, linewidth=0.8)
