"""The licence of a repository whose source declares none, from the texts of the licence files at its top."""

import codecs
import re
from collections.abc import Iterable

from codeparrot.corpus.documents import UNKNOWN_LICENSE
from codeparrot.corpus.licenses.texts import detect

LICENSE_FILE = re.compile(r"([\w-]+[-_.])?((un)?licen[cs]es?|copying|copyright)(v?\d)?([-_.][\w.-]*)?", re.IGNORECASE)
NO_LICENSE_FILE = (
    ".py",
    ".pyi",
    ".js",
    ".ts",
    ".c",
    ".h",
    ".go",
    ".rs",
    ".sh",
    ".json",
    ".toml",
    ".yml",
    ".yaml",
    ".png",
    ".svg",
)
MAX_LICENSE_BYTES = 200_000
"""Bytes of a licence file that are read; no licence is longer: the GPL has 35,000."""
MAX_LICENSE_FILES = 20
"""At most this many licence files are read per repository or archive."""


def is_license_file(name: str) -> bool:
    """Whether a file of this name (without its folders) holds a licence."""
    return LICENSE_FILE.fullmatch(name) is not None and not name.lower().endswith(NO_LICENSE_FILE)


def license_of_files(contents: Iterable[bytes]) -> str:
    """Return the licence whose text these files hold, several joined by AND, or "unknown".

    If a repository lets its user choose between several, this is stricter than what it grants.
    """
    found = (detect(_text(content[:MAX_LICENSE_BYTES])) for content in contents)
    return " AND ".join(sorted({name for name in found if name})) or UNKNOWN_LICENSE


def _text(content: bytes) -> str:
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if wide else "utf-8-sig", "replace")
