"""A tokenizer as llama.cpp knows it: its tokens, its merges, and how a text is split before merges apply.

llama.cpp has no general splitting, only a list of named ones. A tokenizer that splits otherwise, or changes the text first, is
refused: its ids would be others, and the model's text quietly worse. The sentinels are control tokens, so that llama.cpp takes
them out of no text, and have their roles in the file.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codeparrot.errors import CodeparrotError
from codeparrot.stream.sentinels import FILE_SEP, FIM_MIDDLE, FIM_PAD, FIM_PREFIX, FIM_SUFFIX, REPO_NAME
from codeparrot.stream.token_bytes import BYTE_OF

if TYPE_CHECKING:
    from gguf import GGUFWriter

_BYTES, _BYTES_OF_WORDS, _DIGITS = "ByteLevel", "ByteLevel by GPT-2's words", "Digits"
LLAMA_3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""How Llama 3 splits a text."""
NAMED: Mapping[tuple[str, ...], tuple[str, bool]] = {
    (_BYTES_OF_WORDS,): ("gpt-2", False),
    (_DIGITS, _BYTES_OF_WORDS): ("starcoder", False),
    (LLAMA_3, _BYTES): ("llama-bpe", True),
}
"""llama.cpp's name of each way to split, and whether it then takes a word that is a token as it is (`ignore_merges`)."""
ROLES = {
    FIM_PREFIX: "fim_pre",
    FIM_SUFFIX: "fim_suf",
    FIM_MIDDLE: "fim_mid",
    FIM_PAD: "fim_pad",
    REPO_NAME: "fim_rep",
    FILE_SEP: "fim_sep",
}
"""llama.cpp's names of what the sentinels are for."""


@dataclass(frozen=True)
class Vocabulary:
    """What the file says of a tokenizer."""

    pre: str
    """llama.cpp's name of how it splits a text."""
    tokens: list[str]
    """One a row of the embeddings, as byte-level tokens are spelled."""
    types: list[int]
    """gguf's TokenType of each."""
    merges: list[str]
    ids: dict[str, int]
    """By the role in the file: bos, eos, unk, pad, fim_pre, ..."""
    begins: bool
    """Whether bos stands before each text."""
    ends: bool
    num_tokens: int
    """Tokens that are not only rows of the embeddings."""

    @property
    def fills(self) -> bool:
        """Whether there are sentinels for filling in the middle."""
        return {"fim_pre", "fim_suf", "fim_mid"} <= self.ids.keys()

    def write(self, writer: "GGUFWriter") -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        writer.add_token_merges(self.merges)
        for role, index in self.ids.items():
            writer.add_uint32(f"tokenizer.ggml.{role}_token_id", index)
        writer.add_add_bos_token(self.begins)
        writer.add_add_eos_token(self.ends)
        writer.add_add_space_prefix(False)


def vocabulary_of(tokenizer: Any, num_rows: int) -> Vocabulary:
    """Return what a file says of a tokenizer.

    Args:
        tokenizer: of transformers.
        num_rows: rows of the model's embeddings: those without a token get an unused one.

    Raises:
        CodeparrotError: llama.cpp cannot split or merge as it does.
    """
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    pre = _checked(content)
    names = {index: name for name, index in tokenizer.get_vocab().items()}
    tokens, types = zip(*_rows(names, tokenizer.added_tokens_decoder, num_rows), strict=True)
    merges = [each if isinstance(each, str) else " ".join(each) for each in content["model"]["merges"]]
    begins, ends = _around(tokenizer)
    return Vocabulary(pre, list(tokens), list(types), merges, _ids(tokenizer), begins, ends, len(names))


def _rows(names: dict[int, str], added: Mapping[int, Any], num_rows: int) -> Iterator[tuple[str, int]]:
    from gguf import TokenType

    taken = set(names.values())
    for index in range(num_rows):
        if index in added:
            kind = TokenType.CONTROL if added[index].special else TokenType.USER_DEFINED
            yield names[index], kind
        elif index in names:
            yield names[index], TokenType.NORMAL
        else:
            name = f"[PAD{index}]"
            while name in taken:  # llama.cpp finds a token by its name
                name = f"[{name}]"
            yield name, TokenType.UNUSED


def _ids(tokenizer: Any) -> dict[str, int]:
    # Where the file has no bos or eos, llama.cpp takes token 11 for it, which is a word here.
    found = {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id}
    found |= {"unknown": tokenizer.unk_token_id, "padding": tokenizer.pad_token_id}
    if found["bos"] is None:
        found["bos"] = tokenizer.eos_token_id
    special = {str(token): index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    found |= {role: special.get(name) for name, role in ROLES.items()}
    return {role: index for role, index in found.items() if index is not None}


def _around(tokenizer: Any) -> tuple[bool, bool]:
    """Return whether bos stands before a text, and eos behind it."""
    bare, whole = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
    for begins in (False, True):
        for ends in (False, True):
            around = [tokenizer.bos_token_id] * begins + bare + [tokenizer.eos_token_id] * ends
            if around == whole:
                return begins, ends
    raise _refused(f"puts the ids {whole} around a text that is {bare}")


def _checked(content: dict[str, Any]) -> str:
    """Return llama.cpp's name of how a tokenizer splits; see `vocabulary_of`."""
    model = content["model"]
    if model["type"] != "BPE" or model.get("byte_fallback") or '"ByteLevel"' not in json.dumps(content["decoder"]):
        raise _refused("is no byte-level BPE")
    if content["normalizer"] is not None:
        raise _refused(f"changes a text before it splits it ({content['normalizer']['type']})")
    if lacking := [character for character in BYTE_OF if character not in model["vocab"]]:
        raise _refused(f"has no token for {len(lacking)} of the 256 bytes")
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise _refused("marks the beginnings or ends of words")
    stages = tuple(_stages(content["pre_tokenizer"]))
    pre, whole_words = NAMED.get(stages, ("", False))
    if not pre:
        raise _refused(f"splits a text in a way that has no name there ({', '.join(stages) or 'not at all'})")
    if bool(model.get("ignore_merges")) != whole_words:
        raise _refused(f"splits as {pre}, but {'merges' if whole_words else 'does not merge'} words that are tokens")
    return pre


def _stages(pre: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the steps in which a tokenizer splits a text."""
    if pre is None:
        return
    if pre["type"] == "Sequence":
        for each in pre["pretokenizers"]:
            yield from _stages(each)
    elif pre["type"] == "ByteLevel" and not pre["add_prefix_space"]:
        yield _BYTES_OF_WORDS if pre["use_regex"] else _BYTES
    elif pre["type"] == "Digits" and pre["individual_digits"]:
        yield _DIGITS
    elif pre["type"] == "Split" and pre["behavior"] == "Isolated" and not pre["invert"]:
        yield pre["pattern"].get("Regex") or json.dumps(pre["pattern"])
    else:
        yield json.dumps(pre)


def _refused(why: str) -> CodeparrotError:
    named = ", ".join(name for name, _ in NAMED.values())
    remedy = f"`codeparrot tokenizer train` makes one that can be exported (llama.cpp's {named})"
    return CodeparrotError(f"the tokenizer {why}, and llama.cpp would make other ids: {remedy}")
