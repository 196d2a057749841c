"""`statistics.json`: what a corpus holds, where it comes from, and what was removed at which stage.

`removed` has an entry for every reason; `waterfall` has the same in the order of the stages, with what was left after each.
"""

import json
from collections.abc import Sequence
from typing import Any

from codeparrot import __version__
from codeparrot.corpus import caps
from codeparrot.corpus.documents import LANGUAGE, UNKNOWN_LANGUAGE, Source
from codeparrot.corpus.duplicates.choice import KEPT, Members
from codeparrot.corpus.filters import rules as filters
from codeparrot.corpus.licenses import rules as licenses
from codeparrot.corpus.minhash.bands import SIGNATURE_VERSION, bands_of
from codeparrot.corpus.settings import Settings
from codeparrot.corpus.sources.safety import REFUSALS
from codeparrot.corpus.tally import DUPLICATE, NEAR_DUPLICATE, Count, Tally
from codeparrot.languages.chosen import ALL

SAMPLES_FILE = "removed/samples.parquet"
CLUSTERS_FILE = "removed/duplicates.parquet"


def statistics_of(
    settings: Settings, sources: list[Source], tally: Tally, splits: dict[str, dict[str, Any]], members: Members
) -> dict[str, Any]:
    licenses = sorted(tally.licenses.items(), key=lambda item: (-item[1].bytes, item[0]))
    return {
        "documents": tally.kept.files,
        "bytes": tally.kept.bytes,
        "characters": tally.kept.characters,
        "repositories": len(tally.repositories),
        "splits": splits,
        "read": {"files": tally.read.files, "bytes": tally.read.bytes},
        "removed": removed_table(tally, settings),
        "waterfall": waterfall(tally, settings),
        "near_duplicates": near_duplicates(settings, members),
        **{name: stage.summary(tally.found[name]) for name, stage in settings.stages.items()},
        "files": {"removed": SAMPLES_FILE, "duplicates": CLUSTERS_FILE},
        **_opt_out(settings, tally),
        "licenses": {name: {"documents": count.files, "bytes": count.bytes} for name, count in licenses},
        "languages": languages(tally, settings),
        "not_judged": not_judged(tally, settings),
        "sources": [_source(spec, source, tally) for spec, source in zip(settings.source, sources, strict=True)],
        "settings": json.loads(json.dumps(settings.recorded())),
        "codeparrot_version": __version__,
    }


def unmatched(settings: Settings, tally: Tally) -> list[str]:
    """Return the lines of the opt-out list that no repository matches. All files of one that does were removed."""
    found = {licenses.repository(name) for name in tally.removed_from} if settings.licenses.opt_out else set()
    return [line for name, line in licenses.opted_out(settings.licenses).items() if name not in found]


def _opt_out(settings: Settings, tally: Tally) -> dict[str, dict[str, int]]:
    """Return how many lines the opt-out list has, and how many match nothing; statistics are published, its names are not."""
    lines = len(licenses.opted_out(settings.licenses))
    return {"opt_out": {"lines": lines, "unmatched": len(unmatched(settings, tally))}} if lines else {}


def removals(settings: Settings) -> dict[str, str]:
    """Return every reason for removing a file, in the order of the checks, with what it means in words."""
    near = settings.near_duplicates
    near_rule = f"a similarity of {near.threshold:g} or more to another document, or to one that is similar to it"
    return {
        **REFUSALS,
        "malformed": "a row that is not a JSON object, or whose text is not text",
        "undecodable": "neither UTF-8 nor what its coding line says",
        **({LANGUAGE: f"another language than {_listed(settings.languages)}"} if settings.languages else {}),
        **settings.notebooks.rules(),
        **filters.rules(settings.filters),
        **licenses.rules(settings.licenses),
        DUPLICATE: "the text of another document, apart from white space",
        **({NEAR_DUPLICATE: near_rule} if near.threshold else {}),
        **({caps.REASON: caps.rule(settings.caps)} if settings.caps else {}),
        **{each.reason: each.rule() for each in settings.stages.values() if each.is_on and each.rule()},
    }


def languages(tally: Tally, settings: Settings) -> dict[str, dict[str, Any]]:
    """Return what there is of each language, the most bytes read first: as `documents` and `bytes` what is kept."""
    reasons = removals(settings)
    return {
        name: {
            "documents": counts.kept.files,
            "bytes": counts.kept.bytes,
            "characters": counts.kept.characters,
            "read": {"files": counts.read.files, "bytes": counts.read.bytes},
            "removed": {
                reason: {"files": counts.removed[reason].files, "bytes": counts.removed[reason].bytes}
                for reason in reasons
                if reason in counts.removed and counts.removed[reason].files
            },
        }
        for name, counts in sorted(tally.languages.items(), key=lambda item: (-item[1].read.bytes, item[0]))
    }


def not_judged(tally: Tally, settings: Settings) -> dict[str, dict[str, Any]]:
    """Return, by the name of a rule, the documents that it did not judge since it knows nothing of their language."""
    kept = {name: counts.kept.files for name, counts in tally.languages.items() if counts.kept.files}
    if not settings.languages:
        kept.pop(UNKNOWN_LANGUAGE, None)  # judged as Python
    ordered = dict(sorted(kept.items(), key=lambda item: (-item[1], item[0])))
    found = filters.not_judged(ordered, settings.filters)
    return {name: {"documents": sum(each.values()), "languages": each} for name, each in found.items()}


def _listed(names: Sequence[str]) -> str:
    """Return the languages that are kept, in words."""
    others = [name for name in names if name != ALL]
    kinds = "those of programs and markup" if ALL in names else ""
    return ", ".join(filter(None, [kinds, *others]))


def removed_table(tally: Tally, settings: Settings) -> dict[str, dict[str, Any]]:
    table = {}
    for reason, rule in removals(settings).items():
        count = tally.removed.get(reason, Count())
        table[reason] = {"files": count.files, "bytes": count.bytes, "rule": rule}
    return table


def waterfall(tally: Tally, settings: Settings) -> list[dict[str, Any]]:
    """Return the stages in order: the files and bytes after each, and what it removed.

    The last one, `kept`, differs from the one before by what cleaning changed within documents.
    """
    left = Count(tally.read.files, tally.read.bytes)
    lines = [_stage("read", "every file of the sources", left, Count())]
    for reason, facts in removed_table(tally, settings).items():
        removed = Count(facts["files"], facts["bytes"])
        left.add(-removed.files, -removed.bytes)
        lines.append(_stage(reason, facts["rule"], left, removed))
    changed = Count(left.files - tally.kept.files, left.bytes - tally.kept.bytes)
    return [*lines, _stage("kept", "the corpus", tally.kept, changed)]


def _stage(name: str, rule: str, left: Count, removed: Count) -> dict[str, Any]:
    return {
        "stage": name,
        "files": left.files,
        "bytes": left.bytes,
        "removed_files": removed.files,
        "removed_bytes": removed.bytes,
        "rule": rule,
    }


def near_duplicates(settings: Settings, members: Members) -> dict[str, Any]:
    """Return how near duplicates were found, and how many clusters there are."""
    near = settings.near_duplicates
    clusters = {"clusters": int((members.verdict == KEPT).sum()), "clustered_files": len(members.number)}
    if not near.threshold:
        return clusters
    bands = bands_of(near)
    return {
        "signature": SIGNATURE_VERSION,
        "bands": bands.number,
        "rows_per_band": bands.rows,
        "probability_at": {f"{each:g}": round(bands.probability(each), 6) for each in (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)},
        **clusters,
    }


def _source(spec: str, source: Source, tally: Tally) -> dict[str, Any]:
    facts = {"source": spec, **source.facts}
    if "distributions" in facts:
        facts["distributions"] = {
            name: {**each, "documents": tally.repositories[name].files if name in tally.repositories else 0}
            for name, each in facts["distributions"].items()
        }
    return facts
