"""The data set card of a corpus: what it holds, where it comes from, what was removed and why, and how to load and rebuild it.

It is written for those who use the corpus and for those who answer for that use. The Hub and `datasets.load_dataset(folder)`
read the YAML at the top. Everything on it follows from the statistics of the build.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from codeparrot.corpus import registry
from codeparrot.corpus.documents import (
    CONTENT,
    LANGUAGE,
    LICENSE,
    PATH,
    REPO_NAME,
    SIZE,
    SPLITS,
    TRAIN,
    UNKNOWN_LANGUAGE,
    UNKNOWN_LICENSE,
    VALID,
)
from codeparrot.corpus.report.pictures import LANGUAGES, WATERFALL, pictures_of, render, stages_of
from codeparrot.corpus.report.reading import findings_of, source_line
from codeparrot.corpus.stage import Stage
from codeparrot.figures import LIGHT, size_in_words
from codeparrot.markdown_tables import plain, table

HUB_LICENSES = frozenset(
    "afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause bsl-1.0 cc0-1.0 cc-by-4.0 cc-by-sa-4.0 "
    "ecl-2.0 epl-2.0 eupl-1.1 gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 mit mpl-2.0 ms-pl ncsa osl-3.0 "
    "postgresql unlicense wtfpl zlib".split()
)
"""The identifiers that the Hub accepts on a card and that source code uses; anything else is "other" there."""

SIZE_CATEGORIES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
NAMES_SHOWN = 20
REPOSITORIES_SHOWN = 50
LANGUAGES_SHOWN = 40
COLUMN_TEXTS = {
    REPO_NAME: "repository or distribution that the file comes from",
    PATH: "path of the file in it",
    SIZE: f"bytes of `{CONTENT}` as UTF-8",
    CONTENT: "text of the file",
    LICENSE: f"licence as an SPDX expression, or `{UNKNOWN_LICENSE}`",
    LANGUAGE: f"language, by Linguist's name in lower case, or `{UNKNOWN_LANGUAGE}`",
}


def card(statistics: dict[str, Any], name: str, pictures: Iterable[str] = ()) -> str:
    """Return the text of README.md; `pictures` names files beside it."""
    shown = list(pictures)
    return "\n".join(
        [
            "---",
            yaml.safe_dump(front_matter(statistics, name), sort_keys=False).strip(),
            "---",
            "",
            f"# {plain(name)}",
            "",
            *_overview(statistics),
            *_removed(statistics, shown),
            *_languages(statistics, shown),
            *_sources(statistics),
            *_licenses(statistics),
            *_stages(statistics),
            *_limits(),
            *_settings(statistics),
        ]
    )


def pictures(folder: Path, statistics: dict[str, Any]) -> list[str]:
    """Draw the pictures of the corpus in `folder` into that folder, and return their file names."""
    drawn = pictures_of(folder, statistics)
    for picture in drawn:
        (folder / picture.file).write_bytes(render(picture, LIGHT))
    return [picture.file for picture in drawn]


def front_matter(statistics: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what the Hub reads at the top of a card."""
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
    total, repositories = size_in_words(statistics["bytes"]), statistics["repositories"]
    documents = f"{statistics['documents']:,} source files with {total} of text from {repositories:,} repositories"
    rows = [
        (split, facts["documents"], facts["repositories"], facts["bytes"], facts["characters"], len(facts["shards"]))
        for split, facts in statistics["splits"].items()
    ]
    lines = [
        f"{documents}, for training and evaluating language models of code.",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        'corpus = load_dataset("PATH_OR_NAME")  # this folder, or its name on the Hub',
        "```",
        "",
        *table(("split", "documents", "repositories", "bytes of text", "characters", "shards"), rows),
        "",
    ]
    if VALID in statistics["splits"]:
        paths = statistics["splits"][VALID].get("paths", [])
        names = paths or statistics["splits"][VALID]["repository_names"]
        shown = ", ".join(names[:NAMES_SHOWN]) + (f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else "")
        how = "Split by repository, by a hash of its name: no repository is in both splits. Repositories for validation"
        if paths:
            how = "All documents are of one repository, so it is "
            if statistics["splits"][TRAIN]["repositories"] > 1:
                how = "Each repository is too large to be set aside, so they are "
            how += (
                "split inside, by folders and files: the loss on the valid split "
                "will be lower than that on other code. Folders and files for validation"
            )
        lines += [f"{how}: {len(names)} ({plain(shown)}).", ""]
    return [*lines, *table(("column", "what it holds"), COLUMN_TEXTS.items()), ""]


def _removed(statistics: dict[str, Any], shown: list[str]) -> list[str]:
    read, stages = statistics["read"], stages_of(statistics)
    rows = [
        (each["stage"], each["removed_files"], each["removed_bytes"], each["files"], each["bytes"], each["rule"])
        for each in stages
    ]
    lines = [
        "## From the sources to the corpus",
        "",
        f"{read['files']:,} files with {read['bytes']:,} bytes were read. The stages follow one another in this order; a file",
        "is counted under the first one that removed it.",
        "",
        *table(("stage", "files removed", "bytes removed", "files left", "bytes left", "what it removes"), rows),
        "",
        *_picture(shown, WATERFALL, "Bytes left after each stage"),
    ]
    lines += _not_judged(statistics)
    lines += _near_duplicates(statistics)
    for name, caption in (("document_sizes.png", "Documents by their size"), ("line_lengths.png", "Lines by their length")):
        lines += _picture(shown, name, caption)
    return lines


def _languages(statistics: dict[str, Any], shown: list[str]) -> list[str]:
    """Return what is left of each language; a corpus of an older version does not know."""
    if not statistics.get("languages"):
        return []
    total = max(1, statistics["bytes"])
    rows = [
        (
            *(name, each["read"]["files"], each["documents"], each["bytes"], f"{each['bytes'] / total:.1%}"),
            f"{each['bytes'] / max(1, each['read']['bytes']):.1%}",
            ", ".join(f"{reason} {count['files']:,}" for reason, count in each["removed"].items()),
        )
        for name, each in statistics["languages"].items()
    ]
    header = ("language", "files read", "documents", "bytes of text", "share", "bytes left", "files removed")
    lines = [
        "## Languages",
        "",
        "The language of a file is what its source calls it, else what its name, its `#!` line or its text tells.",
        "",
        *table(header, rows[:LANGUAGES_SHOWN]),
        "",
    ]
    if len(rows) > LANGUAGES_SHOWN:
        lines += [f"and {len(rows) - LANGUAGES_SHOWN:,} more, which statistics.json lists.", ""]
    return lines + _picture(shown, LANGUAGES, "Bytes left after each stage, by language")


def _some(names: Iterable[str]) -> str:
    """Return the first of many names, and how many more there are: a source may have thousands of languages."""
    every = list(names)
    more = [f"{len(every) - LANGUAGES_SHOWN:,} more"] if len(every) > LANGUAGES_SHOWN else []
    return ", ".join(every[:LANGUAGES_SHOWN] + more)


def _not_judged(statistics: dict[str, Any]) -> list[str]:
    """Return which stages passed over files of which languages; a corpus of an older version does not know."""
    rows = [
        (name, each["documents"], _some(f"{language} {files:,}" for language, files in each["languages"].items()))
        for name, each in statistics.get("not_judged", {}).items()
    ]
    if not rows:
        return []
    header = ("stage", "documents not judged", "their languages")
    return ["Some stages ask for what not every language has. They let pass without judging:", "", *table(header, rows), ""]


def _near_duplicates(statistics: dict[str, Any]) -> list[str]:
    near = statistics.get("near_duplicates", {})
    if "bands" not in near:
        return []
    settings = statistics["settings"]["near_duplicates"]
    chances = ", ".join(f"{chance:.1%} at {similarity}" for similarity, chance in near["probability_at"].items())
    return [
        f"Near duplicates are found by MinHash over {_shingle(settings['ngram'])}: {settings['permutations']}",
        f"permutations in {near['bands']} bands of {near['rows_per_band']} rows, at a similarity of {settings['threshold']:g}.",
        f"Two documents are compared with a probability that grows with their similarity: {chances}.",
        f"Those that are connected form a cluster: {near['clusters']:,} clusters of {near['clustered_files']:,} files in all,",
        "exact duplicates included. One file of each is kept: of the repository with the most stars where they are known, then",
        "the longest, then by a hash.",
        "",
    ]


def _shingle(ngram: int) -> str:
    return "single tokens" if ngram == 1 else f"runs of {ngram} tokens"


def _picture(shown: list[str], name: str, caption: str) -> list[str]:
    return [f"![{caption}]({name})", ""] if name in shown else []


def _sources(statistics: dict[str, Any]) -> list[str]:
    lines = ["## Sources", ""]
    for source in statistics["sources"]:
        lines.append(f"- {plain(source_line(source))}")
        distributions = [
            (name, *facts.values()) for name, facts in source.get("distributions", {}).items() if facts["documents"]
        ]
        repositories = [(each["name"], each["commit"]) for each in source.get("repositories", ())]
        if distributions:
            lines += ["", *table(("distribution", "version", "licence", "documents"), distributions), ""]
        if repositories:
            lines += ["", *table(("repository", "commit"), repositories[:REPOSITORIES_SHOWN]), ""]
        if len(repositories) > REPOSITORIES_SHOWN:
            lines += [f"and {len(repositories) - REPOSITORIES_SHOWN:,} more, which statistics.json lists.", ""]
    return [*lines, ""]


def _licenses(statistics: dict[str, Any]) -> list[str]:
    total, settings = max(1, statistics["bytes"]), statistics["settings"].get("licenses")
    rows = [
        (name, facts["documents"], facts["bytes"], f"{facts['bytes'] / total:.1%}")
        for name, facts in statistics["licenses"].items()
    ]
    lines = [
        "## Licences",
        "",
        "The licence of a file is the one that its source declares: the metadata of a distribution, the column of a table, or",
        "the licence files at the top of a repository or an archive, compared with the texts of known licences. Where a file",
        "says one itself (`SPDX-License-Identifier`), both hold. It is written as an SPDX expression in the column `license`;",
        f"`{UNKNOWN_LICENSE}` means that nobody declares one. This is what is declared, not legal advice: whoever uses a",
        "document must keep to its licence, attribution included; `repo_name` and `path` say where the document comes from.",
        "",
    ]
    if settings:
        allowed = ", ".join(settings["allow"])
        kept = "are kept" if settings.get("unknown") == "keep" else "are removed"
        lines += [f"Allowed: {plain(allowed)}. Files whose licence nobody declares {kept}.", ""]
        opt_out = "Repositories on the list of owners who opted out were removed." if settings.get("opt_out") else NO_OPT_OUT
        lines += [opt_out, ""]
    else:
        lines += ["Files were neither removed for their licence nor by an opt-out list.", ""]
    return [*lines, *table(("licence", "documents", "bytes", "share"), rows), ""]


NO_OPT_OUT = "No list of owners who opted out was given to the build."


def _stages(statistics: dict[str, Any]) -> list[str]:
    """Return the sections of the stages of cleaning: the last stage first, so that personal data comes before benchmarks."""
    found = findings_of(statistics)
    return [line for name, stage in reversed(registry.stages().items()) for line in _stage(stage, found[name])]


def _stage(stage: type[Stage], found: dict[str, Any] | None) -> list[str]:
    lines = [f"## {stage.title}", "", stage.words(found), ""]
    return lines if found is None else [*lines, *table(*stage.table(found)), ""]


def _limits() -> list[str]:
    return [
        "## Limits",
        "",
        "The code was not run and not reviewed: it holds mistakes, weaknesses, and the opinions and biases of those who wrote",
        "it. The filters look at form, so they lose some good files and keep some bad ones; `codeparrot corpus report` shows",
        "examples of what each removed.",
        "",
    ]


def _settings(statistics: dict[str, Any]) -> list[str]:
    settings = yaml.safe_dump(statistics["settings"], sort_keys=False).strip()
    version = statistics["codeparrot_version"]
    return [
        "## To build it again",
        "",
        f"Built by codeparrot {version}. The same sources and settings give the same files, byte for byte. Saved as",
        "`recipe.yaml`, these settings are used by `codeparrot corpus build --recipe recipe.yaml --output corpus`.",
        "",
        "```yaml",
        settings,
        "```",
        "",
    ]
