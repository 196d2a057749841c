"""What plugs into the corpus: its filters, its stages of cleaning and its sources, each a line here and a file of its own.

A line names a module and an object in it, as "module:NAME". Filters and stages are imported when a build or a report begins, a
source when a build names it; so the modules of filters and stages import nothing heavy at the top.
"""

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from codeparrot.registry import load

if TYPE_CHECKING:
    from codeparrot.corpus.filters.filter import Filter
    from codeparrot.corpus.stage import Stage

FILTERS = {
    "size": "codeparrot.corpus.filters.size:FILTER",
    "generated": "codeparrot.corpus.filters.generated:FILTER",
    "longest_line": "codeparrot.corpus.filters.line_lengths:LONGEST",
    "mean_line": "codeparrot.corpus.filters.line_lengths:MEAN",
    "alphanumeric": "codeparrot.corpus.filters.alphanumeric:FILTER",
    "config_or_test": "codeparrot.corpus.filters.config_tests:FILTER",
    "no_keyword": "codeparrot.corpus.filters.keywords:FILTER",
    "few_assignments": "codeparrot.corpus.filters.assignments:FILTER",
    "non_ascii": "codeparrot.corpus.filters.non_ascii:FILTER",
    "comments": "codeparrot.corpus.filters.comments:FILTER",
    "syntax": "codeparrot.corpus.filters.syntax:FILTER",
    "characters_per_token": "codeparrot.corpus.filters.characters_per_token:FILTER",
    "data_size": "codeparrot.corpus.filters.data_files:SIZE",
    "table_size": "codeparrot.corpus.filters.data_files:TABLE",
    "data_letters": "codeparrot.corpus.filters.data_files:LETTERS",
    "xml_elsewhere": "codeparrot.corpus.filters.xml:ELSEWHERE",
    "drawing": "codeparrot.corpus.filters.xml:DRAWING",
    "xml_size": "codeparrot.corpus.filters.xml:SIZE",
    "visible_text": "codeparrot.corpus.filters.visible_text:FILTER",
}
"""Rules that judge a document by itself (filters/filter.py). The statistics count what each removes under its name here.
`--help` and the card list their limits in this order."""

STAGES = {
    "contamination": "codeparrot.corpus.contamination.stage:Contamination",
    "secrets": "codeparrot.corpus.secrets.stage:Secrets",
}
"""Stages of cleaning (stage.py) by the name of their settings, in the order in which a document passes through them."""


class Scheme(NamedTuple):
    """What `--source SCHEME:...` names."""

    target: str
    """Function that takes the whole text and a Reading, and returns a Source (documents.py): the source's units list what there
    is, and each reads its documents in a worker."""
    names: str
    """What follows the colon; the message that lists the sources shows it."""


SOURCES = {
    "git": Scheme("codeparrot.corpus.sources.git:open_git", "FOLDER"),
    "archives": Scheme("codeparrot.corpus.sources.archives:open_named", "FOLDER"),
    "hub": Scheme("codeparrot.corpus.sources.hub:open_hub", "NAME"),
}
"""Sources that a scheme names; sources/opening.py recognises folders, tables and archives without one."""


@cache
def filters() -> "dict[str, Filter]":
    """Return the filters in the order of FILTERS."""
    return {name: load(target) for name, target in FILTERS.items()}


@cache
def stages() -> "dict[str, type[Stage]]":
    """Return the stages in the order of STAGES."""
    return {name: load(target) for name, target in STAGES.items()}
