"""Bytes of a source file to text, as Python itself reads them: a byte order mark, a coding line (PEP 263), else UTF-8."""

import io
import string
import tokenize
from functools import lru_cache

_PROBE = string.printable.replace("\\", "") + "\\u0041 +AGE- .xn--maana-pta."
"""Text that idna, punycode, UTF-7 and the escape codecs would change."""


def decode(content: bytes | str) -> str | None:
    """Return the text, or None if it is not in the encoding that it declares, or cannot be written as UTF-8.

    Line ends are kept as they are. A byte order mark is not part of the text.
    """
    try:
        text = _decode_bytes(content) if isinstance(content, bytes) else content
        # JSON may hold a lone surrogate, which is not a character: no file could hold it.
        text.encode()
    except (SyntaxError, LookupError, UnicodeError):
        return None
    return text


def _decode_bytes(content: bytes) -> str:
    encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    if encoding not in ("utf-8", "utf-8-sig") and not _keeps_ascii(encoding):
        raise LookupError(encoding)
    return content.decode(encoding)


@lru_cache(maxsize=256)
def _keeps_ascii(encoding: str) -> bool:
    # Python reads some files whose codec does not keep ASCII, but then the text is not what the bytes look like. Besides, the
    # decoders of punycode and idna take time quadratic in the length.
    try:
        return _PROBE.encode().decode(encoding) == _PROBE
    except (LookupError, UnicodeError):
        return False
