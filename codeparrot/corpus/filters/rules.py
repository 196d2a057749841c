"""Judging a document by the filters, with CodeParrot's limits as defaults and BigCode's to switch on.

A file is counted under the first filter that removes it. Two of CodeParrot's filters remove only a part of what they find. A
file's text decides whether it is in that part, so it is the same in every build. Sources of rules and limits: Tunstall,
von Werra, Wolf, "Natural Language Processing with Transformers", chapter 10, and CodeParrot's research project in transformers;
Li et al., "StarCoder: may the source be with you!" (2023), section 3.
"""

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache

from codeparrot.corpus import registry
from codeparrot.corpus.filters.filter import Filter
from codeparrot.corpus.filters.text import Text
from codeparrot.corpus.filters.thresholds import Thresholds


@cache
def _in_order() -> tuple[tuple[str, Filter], ...]:
    return tuple(sorted(registry.filters().items(), key=lambda each: each[1].order))


def first_failing(text: Text, limits: Thresholds) -> str | None:
    """Return the name of the first filter that removes the text, or None if all let it pass."""
    for name, each in _in_order():
        if each.is_on(limits) and each.applies(text.language) and not each.passes(text, limits):
            return name
    return None


def not_judged(languages: Mapping[str, int], limits: Thresholds) -> dict[str, dict[str, int]]:
    """Return, by the name of a filter that is on, the files that it does not judge, of those there are of each language."""
    found = {
        name: {language: files for language, files in languages.items() if not each.applies(language)}
        for name, each in _in_order()
        if each.is_on(limits)
    }
    return {name: skipped for name, skipped in found.items() if skipped}


def rules(limits: Thresholds) -> dict[str, str]:
    """Return, by the name of every filter that is on, what it removes in words, in the order in which they judge."""
    return {name: each.rule.format(**asdict(limits)) for name, each in _in_order() if each.is_on(limits)}
