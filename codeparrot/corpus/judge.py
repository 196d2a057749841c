"""What a worker does with a record: decode, filter, fingerprint. The result depends on the record and the settings alone."""

from typing import NamedTuple

import xxhash

from codeparrot.corpus.decode import decode
from codeparrot.corpus.documents import Candidate, Document, Record, Removed
from codeparrot.corpus.filters.rules import first_failing
from codeparrot.corpus.filters.text import Text
from codeparrot.corpus.filters.thresholds import Thresholds
from codeparrot.corpus.hashes import position
from codeparrot.corpus.licenses.rules import LicenseSettings, license_of_file, removes


class Rules(NamedTuple):
    """What a document must satisfy by itself, and the seed that its place is drawn from."""

    seed: int
    filters: Thresholds
    licenses: LicenseSettings


def judge(record: Record, rules: Rules) -> Candidate | Removed:
    """Return the candidate that a record becomes, or what removed it."""
    repo_name, path, declared = (_storable(name) for name in (record.repo_name, record.path, record.license))
    content = decode(record.content)
    if content is None:
        return Removed("undecodable", len(record.content), repo_name, path)
    text = Text(content)
    size = len(text.encoded)
    if reason := first_failing(text, rules.filters):
        return Removed(reason, size, repo_name, path, content)
    license_name = license_of_file(declared, content)
    if reason := removes(license_name, repo_name, rules.licenses):
        return Removed(reason, size, repo_name, path, content)
    document = Document(repo_name, path, size, content, license_name)
    whole = xxhash.xxh3_64("\0".join((repo_name, path, license_name, "")).encode())
    whole.update(text.encoded)
    stars = -1 if record.stars is None else record.stars
    return Candidate(document, text.fingerprint, position(rules.seed, repo_name, path), whole.intdigest(), stars)


def _storable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()
