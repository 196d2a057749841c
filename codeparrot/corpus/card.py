"""The data set card of a corpus: what it holds, where it comes from and what was removed, and how to load it.

The YAML at the top is what the Hub and `datasets.load_dataset(folder)` read.
"""

from collections.abc import Iterable
from typing import Any

import yaml

from codeparrot.corpus.documents import COLUMNS, SPLITS, VALID
from codeparrot.corpus.report import source_line

HUB_LICENSES = frozenset(
    "afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause bsl-1.0 cc0-1.0 cc-by-4.0 cc-by-sa-4.0 "
    "ecl-2.0 epl-2.0 eupl-1.1 gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 mit mpl-2.0 ms-pl ncsa osl-3.0 "
    "postgresql unlicense wtfpl zlib".split()
)
"""Those of the identifiers that the Hub accepts in a card which source code uses; anything else is "other" there."""

SIZE_CATEGORIES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
NAMES_SHOWN = 20


def card(statistics: dict[str, Any], name: str) -> str:
    """Return the text of README.md."""
    return "\n".join(
        [
            "---",
            yaml.safe_dump(_front_matter(statistics, name), sort_keys=False).strip(),
            "---",
            "",
            f"# {name}",
            "",
            *_overview(statistics),
            *_removed(statistics),
            *_sources(statistics),
            *_licenses(statistics),
            *_settings(statistics),
        ]
    )


def _front_matter(statistics: dict[str, Any], name: str) -> dict[str, Any]:
    present = [split for split in SPLITS if split in statistics["splits"]]
    return {
        "pretty_name": name,
        "license": sorted({_hub_license(each) for each in statistics["licenses"]}),
        "task_categories": ["text-generation"],
        "tags": ["code"],
        "size_categories": [_size_category(statistics["documents"])],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"{split}-*.parquet"} for split in present],
            }
        ],
    }


def _hub_license(license_name: str) -> str:
    identifier = license_name.lower().removesuffix("-only").removesuffix("-or-later")
    return identifier if identifier in HUB_LICENSES else "other"


def _size_category(documents: int) -> str:
    return next((name for limit, name in SIZE_CATEGORIES if documents < limit), "n>10M")


def _overview(statistics: dict[str, Any]) -> list[str]:
    rows = [
        (split, facts["documents"], facts["repositories"], facts["bytes"], facts["characters"], len(facts["shards"]))
        for split, facts in statistics["splits"].items()
    ]
    lines = [
        "Source code for language modelling, filtered and without exact duplicates.",
        "",
        *table(("split", "documents", "repositories", "bytes of text", "characters", "shards"), rows),
        "",
    ]
    if VALID in statistics["splits"]:
        names = statistics["splits"][VALID]["repository_names"]
        shown = ", ".join(names[:NAMES_SHOWN]) + (f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else "")
        lines += [f"No repository is in both splits. Repositories for validation: {len(names)} ({shown}).", ""]
    columns = ", ".join(f"`{column}`" for column in COLUMNS)
    return [*lines, f"Columns: {columns}. `size` is the number of bytes of `content` as UTF-8.", ""]


def _removed(statistics: dict[str, Any]) -> list[str]:
    read = statistics["read"]
    rows = [(name, facts["files"], facts["bytes"], facts["rule"]) for name, facts in statistics["removed"].items()]
    return [
        "## What was removed",
        "",
        f"{read['files']:,} files with {read['bytes']:,} bytes were read.",
        "Each file is counted under the first rule that removed it.",
        "",
        *table(("rule", "files", "bytes", "removes"), rows),
        "",
    ]


def _sources(statistics: dict[str, Any]) -> list[str]:
    lines = ["## Sources", ""]
    for source in statistics["sources"]:
        lines.append(f"- {source_line(source)}")
        rows = [(name, *facts.values()) for name, facts in source.get("distributions", {}).items() if facts["documents"]]
        if rows:
            lines += ["", *table(("distribution", "version", "licence", "documents"), rows), ""]
    return [*lines, ""]


def _licenses(statistics: dict[str, Any]) -> list[str]:
    rows = [(name, facts["documents"], facts["bytes"]) for name, facts in statistics["licenses"].items()]
    return [
        "## Licences",
        "",
        "As the sources declare them; every document has its own in the column `license`.",
        "",
        *table(("licence", "documents", "bytes"), rows),
        "",
    ]


def _settings(statistics: dict[str, Any]) -> list[str]:
    settings = yaml.safe_dump(statistics["settings"], sort_keys=False).strip()
    version = statistics["codeparrot_version"]
    return ["## Settings", "", f"Built by codeparrot {version} with", "", "```yaml", settings, "```", ""]


def table(header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> list[str]:
    """Return a Markdown table; whole numbers are aligned to the right."""
    rows = list(rows)
    numeric = [bool(rows) and isinstance(rows[0][column], int) for column in range(len(header))]
    rule = ["---:" if each else "---" for each in numeric]
    return [_row(header), _row(rule), *(_row(_cell(value) for value in row) for row in rows)]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else " ".join(str(value).split()).replace("|", "\\|")
