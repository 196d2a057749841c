"""An encoder whose ids are the bytes of the text, so that windows show which text was packed."""

import numpy as np
from numpy.typing import NDArray

END = 256


class BytesEncoder:
    name = "bytes"
    end_of_document = END

    def encode(self, texts: list[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        rows = [np.frombuffer(text.encode(), np.uint8).astype(np.uint32) for text in texts]
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        return np.concatenate([np.empty(0, np.uint32), *rows]), offsets


def documents_of(tokens: NDArray[np.integer]) -> list[str]:
    """Cut a stream of ids at the end-of-document tokens."""
    ends = np.flatnonzero(tokens == END)
    return [part[part != END].astype(np.uint8).tobytes().decode() for part in np.split(tokens, ends + 1)[:-1]]
