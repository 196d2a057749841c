"""`codeparrot corpus report`: what a corpus holds and what was removed, as text for a terminal.

reading.py reads the statistics and checks the shards, inspection.py reads the rest of the corpus, page.py writes the page.
"""

from collections.abc import Iterator
from typing import Any

from codeparrot.corpus import registry
from codeparrot.corpus.documents import TRAIN, VALID
from codeparrot.corpus.report.reading import check_shards, corpus_folder, findings_of, read_statistics, source_line
from codeparrot.errors import CodeparrotError
from codeparrot.location import path_of
from codeparrot.markdown_tables import clean
from codeparrot.result import Result

NAMES_SHOWN = 5
LICENSES_SHOWN = 12
REASONS_SHOWN = 4
NOT_RECORDED = "not recorded"
NOT_DONE = "not looked for"


def report(corpus: str, tokenizer: str = "", html: str = "", samples: int = 3, clusters: int = 10) -> Result:
    """Show what a corpus holds, where it comes from and what was removed from it, and check that it is complete.

    Args:
        corpus: Folder that `codeparrot corpus build` wrote, here or at an address (s3://, gs://, az://), or
            owner/name[@revision] on the Hub.
        tokenizer: Folder of a tokenizer, or a name on the Hub: count the tokens of the whole corpus with it.
        html: File to write: one page with all of it, the pictures and the beginnings of removed files.
        samples: Removed files to show for each reason.
        clusters: Largest clusters of duplicates to show.
    """
    if samples < 0 or clusters < 0:
        raise CodeparrotError("--samples and --clusters say how many to show; they cannot be negative")
    page = path_of(html) if html else None
    folder = corpus_folder(corpus)
    statistics = read_statistics(folder, ("documents", "bytes", "splits", "licenses", "sources"))
    check_shards(folder, statistics)

    from codeparrot.corpus.report.inspection import inspect
    from codeparrot.corpus.report.pictures import stages_of

    findings = inspect(folder, statistics, samples, clusters, tokenizer)
    facts = {
        "corpus": corpus,
        **statistics,
        "by_language": statistics.get("languages"),
        "waterfall": stages_of(statistics),
        **findings,
        **findings_of(statistics),
    }
    text = clean("\n".join([*_overview(corpus, statistics), *_sections(facts)]))
    if page is not None:
        from codeparrot.corpus.report.page import write_page

        write_page(page, folder, facts)
        facts["html"] = html
        text += f"\npage: {html}"
    return Result(text, facts)


def summary(corpus: str, statistics: dict[str, Any]) -> list[str]:
    """Return the lines that a build prints: what it holds and what was removed, by language too if there are several."""
    read, removed = statistics["read"], {name: each for name, each in statistics["removed"].items() if each["files"]}
    lines = _overview(corpus, statistics)
    lines.append(
        f"removed of {_count(read['files'], 'file')}, {_size(read['bytes'])}, that were read:{'' if removed else ' none'}"
    )
    lines += [_row(name, each["files"], "files", each["bytes"], each["rule"]) for name, each in removed.items()]
    if len(statistics["languages"]) > 1:
        lines += _languages(statistics["languages"])
    return list(map(clean, lines))


def _overview(corpus: str, statistics: dict[str, Any]) -> list[str]:
    lines = [f"{corpus}: {statistics['documents']:,} documents, {_size(statistics['bytes'])} of text"]
    for split, facts in statistics["splits"].items():
        names = facts.get("paths") or facts.get("repository_names", [])
        shown = f": {', '.join(names[:NAMES_SHOWN])}{', ...' if len(names) > NAMES_SHOWN else ''}" if names else ""
        shards, repositories = _count(len(facts["shards"]), "shard"), _count(facts["repositories"], "repositor", "ies", "y")
        lines.append(_row(split, facts["documents"], "documents", facts["bytes"], f"{shards}, {repositories}{shown}"))
    if statistics["splits"].get(VALID, {}).get("paths"):
        of = "all is one repository: valid is a part of it"
        if statistics["splits"][TRAIN]["repositories"] > 1:
            of = "each repository is too large to be set aside: valid is a part of those that are trained on"
        lines.append(f"  {of}, whose loss will be lower than that of other code")
    return lines


def _sections(facts: dict[str, Any]) -> Iterator[str]:
    yield "left after each stage:"
    for stage in facts["waterfall"]:
        if stage["removed_files"] or stage["stage"] in ("read", "kept"):
            gone = f"-{stage['removed_files']:,}: {stage['rule']}" if stage["removed_files"] else stage["rule"]
            yield _row(stage["stage"], stage["files"], "files", stage["bytes"], gone)
    yield from _languages(facts["by_language"])
    if passed := facts.get("not_judged"):
        counts = ", ".join(f"{name} {each['documents']:,}" for name, each in passed.items())
        yield f"not judged, for want of syntax in their languages: {counts}"
    for title, shares in (("endings", facts["languages"]), ("licences", facts["licenses"])):
        yield f"{title}:"
        for name, each in list(shares.items())[:LICENSES_SHOWN]:
            share = each["bytes"] / max(1, facts["bytes"])
            yield _row("", each["documents"], "documents", each["bytes"], f"{share:>6.1%}  {name}")
        if len(shares) > LICENSES_SHOWN:
            yield f"  and {len(shares) - LICENSES_SHOWN} more"
    yield "sources:"
    yield from (f"  {source_line(source)}" for source in facts["sources"])
    yield from _clusters(facts["clusters"])
    yield from _samples(facts["samples"])
    for name, stage in registry.stages().items():
        yield f"{stage.heading or stage.title}:{'' if facts[name] else f' {NOT_DONE}'}"
        yield from (f"  {line}" for line in (stage.report(facts[name]) if facts[name] else ()))
    yield from _tokens(facts["tokens"])


def _languages(shares: dict[str, Any] | None) -> Iterator[str]:
    yield f"languages, left of what was read:{_none(shares)}"
    for name, each in list((shares or {}).items())[:LICENSES_SHOWN]:
        reasons = sorted(each["removed"].items(), key=lambda item: (-item[1]["files"], item[0]))
        gone = ", ".join(f"{reason} {count['files']:,}" for reason, count in reasons[:REASONS_SHOWN])
        left = f"{each['bytes'] / max(1, each['read']['bytes']):>6.1%} of {_size(each['read']['bytes'])}"
        yield _row(name, each["documents"], "documents", each["bytes"], left + (f"; removed: {gone}" if gone else ""))
    if shares and len(shares) > LICENSES_SHOWN:
        yield f"  and {len(shares) - LICENSES_SHOWN} more"


def _clusters(clusters: list[dict[str, Any]] | None) -> Iterator[str]:
    yield f"largest clusters of duplicates:{_none(clusters)}"
    for cluster in clusters or ():
        yield f"  {_count(cluster['files'], 'file')}, {_size(cluster['bytes'])}:"
        for member in cluster["members"][:NAMES_SHOWN]:
            mark = "kept" if member["kept"] else (member["kind"] or "removed")
            yield f"    {mark:<10} {member['repo_name']} {member['path']}"
        if cluster["files"] > NAMES_SHOWN:
            yield f"    and {cluster['files'] - NAMES_SHOWN:,} more"


def _samples(samples: dict[str, list[dict[str, Any]]] | None) -> Iterator[str]:
    yield f"examples of removed files (--html shows how they begin):{_none(samples)}"
    for reason, files in (samples or {}).items():
        yield f"  {reason}:"
        for file in files:
            detail = f"  {file['detail']}" if file["detail"] else ""
            yield f"    {_size(file['size']):>9}  {file['repo_name']} {file['path']}{detail}"


def _tokens(found: dict[str, Any] | None) -> Iterator[str]:
    if found:
        splits = ", ".join(f"{split} {count:,}" for split, count in found["splits"].items())
        yield f"tokens with {found['tokenizer']}: {found['total']:,} ({splits}), {found['bytes_per_token']:.2f} bytes a token"


def _none(found: Any) -> str:
    return f" {NOT_RECORDED}" if found is None else "" if found else " none"


def _row(name: str, number: int, things: str, size: int, remark: str) -> str:
    return f"  {name:<20}{number:>11,} {things if number != 1 else things[:-1]:<9} {_size(size):>9}  {remark}"


def _count(number: int, stem: str, plural: str = "s", singular: str = "") -> str:
    return f"{number:,} {stem}{singular if number == 1 else plural}"


def _size(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.{0 if unit == 'bytes' else 1}f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"
