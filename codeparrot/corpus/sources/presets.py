"""What known data sets call their columns, so that nobody has to say it."""

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
    ),
    # bigcode/starcoderdata
    ColumnNames(repo_name="max_stars_repo_name", path="max_stars_repo_path", stars="max_stars_count"),
    # bigcode/the-stack-smol
    ColumnNames(repo_name="repository_name", license="licenses"),
    # codeparrot/github-code
    ColumnNames(text="code"),
)
"""A table has the first of these whose columns it has; a column that was asked for by another name is kept."""

DEFAULT = ColumnNames()


@lru_cache(maxsize=1024)  # rows of JSON lines need not have the same columns
def columns_of(present: tuple[str, ...], asked: ColumnNames) -> ColumnNames:
    """Return where a table with the columns `present` keeps what the corpus needs."""
    for preset in PRESETS:
        changes = {role: name for role, name in asdict(preset).items() if name != getattr(DEFAULT, role)}
        if changes.keys() and set(changes.values()) <= set(present):
            return replace(asked, **{role: name for role, name in changes.items() if _is_free(role, asked, present)})
    return asked


def _is_free(role: str, asked: ColumnNames, present: Iterable[str]) -> bool:
    return getattr(asked, role) == getattr(DEFAULT, role) and getattr(asked, role) not in present
