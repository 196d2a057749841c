"""What a worker does with a unit: read, decode, filter, fingerprint. A function of the unit and the settings alone."""

from codeparrot.corpus.decode import decode
from codeparrot.corpus.documents import Candidate, Document, Record, Removed, Unit
from codeparrot.corpus.filters import Text, Thresholds, first_failing
from codeparrot.corpus.hashes import fingerprint, position


def judge(unit: Unit, limits: Thresholds, seed: int) -> list[Candidate | Removed]:
    """Return for every record of the unit, in order, the candidate or what removed it."""
    return [each if isinstance(each, Removed) else _judge(each, limits, seed) for each in unit.records()]


def _judge(record: Record, limits: Thresholds, seed: int) -> Candidate | Removed:
    content = decode(record.content)
    if content is None:
        return Removed("undecodable", len(record.content))
    text = Text(content)
    size = len(text.encoded)
    if reason := first_failing(text, limits):
        return Removed(reason, size)
    repo_name, path, license_name = (_storable(name) for name in (record.repo_name, record.path, record.license))
    document = Document(repo_name, path, size, content, license_name)
    return Candidate(document, fingerprint(content), position(seed, repo_name, path))


def _storable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()
