"""Bytes of a source file to text, as Python itself reads them: a byte order mark, a coding line (PEP 263), else UTF-8."""

import io
import tokenize


def decode(content: bytes | str) -> str | None:
    """Return the text, or None when it is in no encoding that it declares, or cannot be written as UTF-8.

    Line ends are kept as they are. A byte order mark is not part of the text.
    """
    try:
        text = _decode_bytes(content) if isinstance(content, bytes) else content
        # A lone surrogate (from JSON, or from a codec such as unicode_escape) is no character: no file could hold it.
        text.encode()
    except (SyntaxError, LookupError, UnicodeError):
        return None
    return text


def _decode_bytes(content: bytes) -> str:
    encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    return content.decode(encoding)
