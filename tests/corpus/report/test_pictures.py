"""Bars carry numbers, and words keep a size that can be read."""

from itertools import pairwise
from typing import Any

from codeparrot import figures
from codeparrot.corpus.report.pictures import waterfall
from codeparrot.figures import LIGHT


def stage(name: str, kept: int, removed: int = 0) -> dict[str, Any]:
    return {"stage": name, "files": 1, "bytes": kept, "removed_files": int(removed > 0), "removed_bytes": removed}


def test_every_bar_of_the_waterfall_says_what_is_left_and_what_went() -> None:
    stages = [stage("read", 4_000_000), stage("too_long", 4_000_000), stage("generated", 3_000_000, 1_000_000)]
    picture = waterfall([*stages, stage("kept", 3_000_000)])
    figure, (axes,) = figures.make(picture.inches)
    picture.draw(axes, LIGHT)
    assert [text.get_text() for text in axes.texts] == ["4 MB", "3 MB, -1 MB", "3 MB"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["read", "generated", "kept"]
    figures.png(figure)
    right = axes.bbox.x1
    assert all(text.get_window_extent().x1 <= right for text in axes.texts), "the numbers stay inside"


def test_many_stages_make_a_higher_picture_not_smaller_words() -> None:
    few = waterfall([stage("read", 9), stage("kept", 9)])
    many = waterfall([stage("read", 99), *(stage(f"stage_{number}", 98 - number, 1) for number in range(40))])
    assert many.inches[0] == few.inches[0] and many.inches[1] > 3 * few.inches[1] - 1
    figure, (axes,) = figures.make(many.inches)
    many.draw(axes, LIGHT)
    figures.png(figure)
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(upper.y0 >= lower.y1 for upper, lower in pairwise(boxes)), "names do not touch"


def test_nothing_read_is_a_picture_too() -> None:
    picture = waterfall([stage("read", 0), stage("kept", 0)])
    figure, (axes,) = figures.make(picture.inches)
    picture.draw(axes, LIGHT)
    assert figures.png(figure)[:4] == b"\x89PNG" and [text.get_text() for text in axes.texts] == ["0 bytes", "0 bytes"]
