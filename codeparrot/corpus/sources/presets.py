"""What known data sets call their columns, so that users need not say it."""

from collections.abc import Iterable
from dataclasses import asdict, replace
from functools import lru_cache

from codeparrot.corpus.documents import ColumnNames

PRESETS = (
    # bigcode/the-stack and bigcode/the-stack-dedup
    ColumnNames(
        repo_name="max_stars_repo_name",
        path="max_stars_repo_path",
        license="max_stars_repo_licenses",
        stars="max_stars_count",
        language="lang",
    ),
    # bigcode/starcoderdata
    ColumnNames(repo_name="max_stars_repo_name", path="max_stars_repo_path", stars="max_stars_count"),
    # bigcode/the-stack-smol
    ColumnNames(repo_name="repository_name", license="licenses", language="lang"),
    # codeparrot/github-code
    ColumnNames(text="code"),
)
"""A table gets the first preset whose CHOSEN_BY columns it has; a column that the user named otherwise is kept."""

CHOSEN_BY = ("text", "repo_name", "license")
"""A row of JSON lines may lack the others: many tools leave out nulls."""

LANG = "lang"
"""The other usual name of a column of languages."""
DEFAULT = ColumnNames()


@lru_cache(maxsize=1024)  # rows of JSON lines need not have the same columns
def columns_of(present: tuple[str, ...], asked: ColumnNames) -> ColumnNames:
    """Return which of the columns `present` hold what the corpus needs."""
    for preset in PRESETS:
        changes = {role: name for role, name in asdict(preset).items() if name != getattr(DEFAULT, role)}
        if all(changes[role] in present for role in CHOSEN_BY if role in changes):
            free = {role: name for role, name in changes.items() if name in present and _is_free(role, asked, present)}
            return replace(asked, **free)
    return replace(asked, language=LANG) if LANG in present and _is_free("language", asked, present) else asked


def _is_free(role: str, asked: ColumnNames, present: Iterable[str]) -> bool:
    return getattr(asked, role) == getattr(DEFAULT, role) and getattr(asked, role) not in present
