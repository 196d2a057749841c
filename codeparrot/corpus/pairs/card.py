"""The data set card of pairs. The Hub and `datasets.load_dataset(folder)` read the YAML at its top."""

from typing import Any

import yaml

from codeparrot.corpus.documents import VALID
from codeparrot.corpus.pairs.columns import TEXTS
from codeparrot.corpus.report.card import front_matter
from codeparrot.figures import size_in_words
from codeparrot.markdown_tables import plain, table


def card(statistics: dict[str, Any], name: str) -> str:
    """Return the text of README.md."""
    of, total = statistics["pairs"], max(1, statistics["bytes"])
    splits = [
        (split, facts["documents"], facts["repositories"], facts["bytes"], len(facts["shards"]))
        for split, facts in statistics["splits"].items()
    ]
    removed = [(reason, each["count"], each["rule"]) for reason, each in of["removed"].items()]
    licenses = [
        (license_name, facts["documents"], facts["bytes"], f"{facts['bytes'] / total:.1%}")
        for license_name, facts in statistics["licenses"].items()
    ]
    head = {**front_matter(statistics, name), "task_categories": ["text-generation", "summarization", "text-retrieval"]}
    held = "No code is in both splits, white space apart. " if VALID in statistics["splits"] else ""
    return "\n".join(
        [
            "---",
            yaml.safe_dump(head, sort_keys=False).strip(),
            "---",
            "",
            f"# {plain(name)}",
            "",
            f"{statistics['documents']:,} functions in Python with what their docstrings say:",
            f"{size_in_words(statistics['bytes'])} of code from {statistics['repositories']:,} repositories.",
            "",
            *table(("split", "pairs", "repositories", "bytes of code", "shards"), splits),
            "",
            f"{held}The splits are those of the corpus ({plain(of['corpus'])}).",
            "",
            *table(("column", "what it holds"), TEXTS.items()),
            "",
            "## What was left out",
            "",
            f"The corpus has {of['functions']:,} functions in {of['files']:,} files. A function is counted under the first",
            "rule that removes it.",
            "",
            *table(("reason", "count", "what it removes"), removed),
            "",
            "## Licences",
            "",
            "The licence of a pair is the one that its file declares; whoever uses a pair must keep to it, attribution",
            "included.",
            "",
            *table(("licence", "pairs", "bytes", "share"), licenses),
            "",
            "## Limits",
            "",
            "Docstrings were written by people for other ends: some are wrong, out of date, or describe what only the rest of",
            "the file explains. Nothing was run or reviewed.",
            "",
            "## To make it again",
            "",
            "```bash",
            f"codeparrot corpus pairs --corpus CORPUS --output {plain(name)} {_flags(statistics['settings'])}",
            "```",
            "",
        ]
    )


def _flags(settings: dict[str, Any]) -> str:
    return " ".join(f"--{name} {value}" for name, value in settings.items())
