"""The report as one self-contained page: pictures inlined, no script, readable on a phone and in dark mode.

Anybody may have written the files it shows: everything is escaped, and the page's policy lets nothing run or load.
"""

import base64
from pathlib import Path
from typing import Any

from codeparrot.corpus import registry
from codeparrot.corpus.report.pictures import WATERFALL, pictures_of, render
from codeparrot.corpus.report.reading import Folder, name_of, source_line
from codeparrot.corpus.stage import Stage
from codeparrot.errors import CodeparrotError
from codeparrot.figures import DARK, LIGHT, size_in_words
from codeparrot.files import new_file
from codeparrot.markdown_tables import clean

SHARES_SHOWN = 25
HITS_SHOWN = 1000


def write_page(file: Path, folder: Folder, facts: dict[str, Any]) -> None:
    """Write the page of the corpus in `folder`; it appears when it is complete."""
    text = page(folder, facts)
    try:
        with new_file(file) as fresh:
            fresh.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise CodeparrotError(f'--html "{file}" cannot be written ({error.strerror}): name another') from error


def page(folder: Folder, facts: dict[str, Any]) -> str:
    """Return the HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("codeparrot.corpus.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(size=size_in_words, number=lambda value: f"{value:,}", clean=clean, source=source_line)
    pictures = [
        {"caption": each.caption, "light": _inline(render(each, LIGHT)), "dark": _inline(render(each, DARK))}
        for each in pictures_of(folder, facts)
        if each.file != WATERFALL  # the table of stages has its own bars
    ]
    shown: dict[str, Any] = {"name": name_of(folder), "pictures": pictures, "shares": SHARES_SHOWN, "hits": HITS_SHOWN}
    shown["cleaning"] = [_cleaning(name, stage, facts[name]) for name, stage in registry.stages().items()]
    return environment.get_template("report.html").render({**facts, **shown})


def _cleaning(name: str, stage: type[Stage], found: dict[str, Any] | None) -> dict[str, Any]:
    heading = stage.heading or stage.title
    # A stage without a template here gets a table of what it found.
    return {"heading": heading[:1].upper() + heading[1:], "found": found, "templates": [f"{name}.html", "stage.html"]}


def _inline(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
