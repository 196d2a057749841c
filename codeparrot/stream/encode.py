"""Text to token ids, many documents per call.

`tokenizers` is the reference. `fastokens` (Rust, no dependencies) gives the same ids many times faster (benchmarks/stream.py).
It is the default when a probe at the start finds its ids equal; a test checks that they are equal over a whole corpus. Text
that spells a special token is encoded character by character: a document can never contain a control token.
"""

import logging
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from codeparrot.errors import CodeparrotError

logger = logging.getLogger("codeparrot")


class Encoder(Protocol):
    """What the stream needs of a tokenizer."""

    name: str
    end_of_document: int
    """Id of the token that follows each document."""

    def encode(self, texts: list[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Return the ids of all texts, joined, and len(texts) + 1 offsets: text i is ids[offsets[i]:offsets[i + 1]].

        Several threads may call it at once.
        """
        ...


class ReferenceEncoder:
    """Hugging Face `tokenizers`."""

    name = "tokenizers"

    def __init__(self, tokenizer_json: str, end_of_document: int) -> None:
        self.end_of_document = end_of_document
        self._tokenizer = Tokenizer.from_str(tokenizer_json)
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode(self, texts: list[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        ids = [np.array(encoding.ids, np.uint32) for encoding in encodings]
        offsets = np.zeros(len(ids) + 1, np.int64)
        np.cumsum([len(row) for row in ids], out=offsets[1:])
        return np.concatenate([np.empty(0, np.uint32), *ids]), offsets


class FastEncoder:
    """`fastokens`."""

    name = "fastokens"

    def __init__(self, tokenizer_json: str, end_of_document: int) -> None:
        import fastokens

        self.end_of_document = end_of_document
        self._tokenizer = fastokens.Tokenizer.from_json_str(tokenizer_json)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode(self, texts: list[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        ids, offsets = self._tokenizer.encode_batch_flat(texts, add_special_tokens=False, split_special_tokens=True)
        return np.frombuffer(ids, np.uint32), np.frombuffer(offsets, np.uint64).astype(np.int64)


def make_encoder(tokenizer_json: str, end_of_document: int, kind: str = "auto") -> Encoder:
    """Return the encoder `kind` ("tokenizers", "fastokens" or "auto") for a tokenizer in tokenizer.json's format.

    Raises:
        CodeparrotError: `kind` is "fastokens", and fastokens cannot read the tokenizer or its ids differ from the reference's.
    """
    reference = ReferenceEncoder(tokenizer_json, end_of_document)
    if kind == "tokenizers":
        return reference
    fault = _fault_of_fast(tokenizer_json, end_of_document, reference)
    if fault is None:
        return FastEncoder(tokenizer_json, end_of_document)
    if kind == "fastokens":
        raise CodeparrotError(f"fastokens {fault}; use --stream.encoder tokenizers")
    logger.warning("fastokens %s: encoding with tokenizers, which is slower", fault)
    return reference


def _fault_of_fast(tokenizer_json: str, end_of_document: int, reference: Encoder) -> str | None:
    try:
        fast = FastEncoder(tokenizer_json, end_of_document)
    except (ImportError, ValueError, RuntimeError) as error:
        return f"cannot be used ({' '.join(str(error).split())[:120]})"
    probe = probe_texts(tokenizer_json)
    for ours, theirs in zip(fast.encode(probe), reference.encode(probe), strict=True):
        if not np.array_equal(ours, theirs):
            return "gives different ids from tokenizers on the probe texts"
    return None


def probe_texts(tokenizer_json: str) -> list[str]:
    """Return texts on which encoders may well differ: white space, scripts, odd code points, special tokens, long words."""
    specials = [token.content for token in Tokenizer.from_str(tokenizer_json).get_added_tokens_decoder().values()]
    characters = "".join(chr(code) for code in range(0x20, 0x3000) if not 0xD800 <= code < 0xE000)
    return [
        "",
        " ",
        "\n",
        "\r\n\t\v\f \u00a0\u2003\u3000\u0085 x",
        "def f(x):\n    return x\n\n\n        # tail   \n\t\tif x: pass   \n",
        "don't I'll we've they're it's I'M '' ''' \"\"\"doc\"\"\"",
        "0123456789 3.14e-10 0xFF 1_000_000 ½ ² ٣ Ⅷ",
        "naïve café e\u0301 ﬁ ß İ ı Ω 漢字かな交じり文 한국어 العربية हिन्दी 👩‍👩‍👧‍👦 🇩🇪 \ufeff\u200b\u200d\x00\x01\x7f\ufffd",
        characters,
        *(f"a{token}b {token}\n{token}{token}" for token in specials),
        "a" * 5000 + " " * 5000 + "=" * 5000 + "\n" * 5000,
        "x = {'k': [1, 2, (3, 4)], **kw}  # type: ignore[arg-type]\n" * 200,
    ]
