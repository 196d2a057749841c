"""What a worker does with a record: decode, filter, fingerprint. The result depends on the record and the settings alone."""

from collections.abc import Sequence
from typing import NamedTuple

import xxhash

from codeparrot.corpus.decode import decode
from codeparrot.corpus.documents import LANGUAGE, UNKNOWN_LANGUAGE, Candidate, Document, Record, Removed
from codeparrot.corpus.filters.rules import first_failing
from codeparrot.corpus.filters.text import Text
from codeparrot.corpus.filters.thresholds import Thresholds
from codeparrot.corpus.hashes import position
from codeparrot.corpus.licenses.rules import LicenseSettings, license_of_file, removes
from codeparrot.corpus.notebooks import NOTEBOOK, NotebookSettings, convert
from codeparrot.languages.chosen import is_chosen
from codeparrot.languages.detect import language_of
from codeparrot.languages.names import LANGUAGES

PYTHON = "python"


class Rules(NamedTuple):
    """What a document must satisfy by itself, and the seed that its place is drawn from."""

    seed: int
    filters: Thresholds
    licenses: LicenseSettings
    languages: Sequence[str] = ()
    """Those that are kept; none: all, and a text in an unknown one is judged as Python."""
    notebooks: NotebookSettings = NotebookSettings()


def judge(record: Record, rules: Rules) -> Candidate | Removed:
    """Return the candidate that a record becomes, or what removed it."""
    repo_name, path, declared = (_storable(name) for name in (record.repo_name, record.path, record.license))
    content = decode(record.content)
    language = _language(record, path, content or "", by_lines=bool(rules.languages))
    known = language or UNKNOWN_LANGUAGE
    if content is None:
        return Removed("undecodable", len(record.content), repo_name, path, language=known)
    if not is_chosen(language, rules.languages):
        return Removed(LANGUAGE, len(content.encode()), repo_name, path, content, known)
    if language == NOTEBOOK:
        converted = convert(content, rules.notebooks)
        if isinstance(converted, str):
            return Removed(converted, len(content.encode()), repo_name, path, content, known)
        content, language = converted
        known = language
    # A build that names no languages is of Python, so it judges a text that nothing tells as Python.
    text = Text(content, language if language or rules.languages else PYTHON, path)
    size = len(text.encoded)
    if reason := first_failing(text, rules.filters):
        return Removed(reason, size, repo_name, path, content, known)
    license_name = license_of_file(declared, content, text.language)
    if reason := removes(license_name, repo_name, rules.licenses):
        return Removed(reason, size, repo_name, path, content, known)
    document = Document(repo_name, path, size, content, license_name, known)
    # Python's are those of older versions; a language that a source names differs where all else is the same.
    named = (_storable(record.language),) if record.language not in (None, PYTHON) else ()
    whole = xxhash.xxh3_64("\0".join((repo_name, path, license_name, *named, "")).encode())
    whole.update(text.encoded)
    stars = -1 if record.stars is None else record.stars
    return Candidate(document, text.fingerprint, position(rules.seed, repo_name, path), whole.intdigest(), stars)


def refused(removed: Removed) -> Removed:
    """Return what a source refused, with the language that its path tells."""
    return removed._replace(language=language_of(removed.path, "") or UNKNOWN_LANGUAGE) if removed.path else removed


def _language(record: Record, path: str, content: str, by_lines: bool) -> str | None:
    """Return the source's word, unless the table of languages lacks it and the path and the text tell one that it has."""
    if record.language in LANGUAGES:
        return record.language
    return language_of(path, content, by_lines) or (_storable(record.language) if record.language else None)


def _storable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()
