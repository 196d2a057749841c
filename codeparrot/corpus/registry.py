"""What plugs into the corpus: its filters, its stages of cleaning and its sources, each a line here and a file of its own.

A line names a module and what it holds, as "module:NAME". Filters and stages are imported when a build or a report begins, a
source when a build names it; so the modules of filters and stages import nothing heavy at their top.
"""

import importlib
from functools import cache
from typing import Any

from codeparrot.corpus.filters.filter import Filter

FILTERS = (
    "codeparrot.corpus.filters.size:FILTER",
    "codeparrot.corpus.filters.generated:FILTER",
    "codeparrot.corpus.filters.line_lengths:LONGEST",
    "codeparrot.corpus.filters.line_lengths:MEAN",
    "codeparrot.corpus.filters.alphanumeric:FILTER",
    "codeparrot.corpus.filters.config_tests:FILTER",
    "codeparrot.corpus.filters.keywords:FILTER",
    "codeparrot.corpus.filters.assignments:FILTER",
    "codeparrot.corpus.filters.non_ascii:FILTER",
    "codeparrot.corpus.filters.comments:FILTER",
    "codeparrot.corpus.filters.syntax:FILTER",
    "codeparrot.corpus.filters.characters_per_token:FILTER",
)
"""Rules that judge a document by itself (filters/filter.py). `--help` and the card list their limits in this order."""


@cache
def filters() -> tuple[Filter, ...]:
    """Return the filters in the order of FILTERS."""
    return tuple(map(load, FILTERS))


def load(target: str) -> Any:
    """Return what "module:NAME" names."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
