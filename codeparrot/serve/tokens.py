"""Texts as tokens and back: `/tokenize`, `/detokenize` and `/tokenizer_info`.

Two kinds of clients ask `/tokenize`, and the field that holds the text says which: llama.cpp's `content`, and vLLM's `prompt`,
which lm-eval sends. `/detokenize` answers both. A special token that is spelled out is a token, unless parse_special is false:
lm-eval finds the end token that way.

The tokenizer is a copy: whether special tokens are read is a state of it, and the desk's thread must never see it change. Long
texts are read beside the event loop.
"""

import copy
import threading
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from codeparrot.generation.healing import vocabulary_of
from codeparrot.serve.answers import answer, in_shape
from codeparrot.serve.asking import num_ids
from codeparrot.serve.exchange import fields_of
from codeparrot.serve.fields import Fields, Refused
from codeparrot.serve.llama import llama_error
from codeparrot.serve.service import Service


def routes(service: Service) -> list[Route]:
    """Return the routes of tokens."""
    tokens = _Tokens(service)

    @in_shape(llama_error)
    async def tokenize(request: HttpRequest) -> Response:
        service.ready()
        return answer(await run_in_threadpool(tokens.tokenize, await fields_of(request, service.limits)))

    @in_shape(llama_error)
    async def detokenize(request: HttpRequest) -> Response:
        service.ready()
        text = await run_in_threadpool(tokens.detokenize, await fields_of(request, service.limits))
        return answer({"content": text, "prompt": text})

    @in_shape(llama_error)
    async def tokenizer_info(request: HttpRequest) -> Response:
        service.ready()
        return answer(_info(service))

    return [
        *(Route(path, tokenize, methods=["POST"]) for path in ("/tokenize", "/v1/tokenize")),
        *(Route(path, detokenize, methods=["POST"]) for path in ("/detokenize", "/v1/detokenize")),
        *(Route(path, tokenizer_info) for path in ("/tokenizer_info", "/v1/tokenizer_info")),
    ]


class _Tokens:
    """A copy of the tokenizer, for one thread at a time."""

    def __init__(self, service: Service) -> None:
        self._service, self._lock, self._own = service, threading.Lock(), None

    def tokenize(self, fields: Fields) -> dict[str, Any]:
        """Return the tokens of a text, as the client that asks reads them."""
        if fields.has("content"):
            ids = self._ids(fields, "content", fields.flag("add_special"))
            if not fields.flag("with_pieces"):
                return {"tokens": ids}
            return {"tokens": [{"id": token, "piece": _piece(token, self._service)} for token in ids]}
        if not fields.has("prompt"):
            raise Refused(400, "content is missing (or prompt, as vLLM calls it)", param="content")
        ids = self._ids(fields, "prompt", fields.flag("add_special_tokens", True))
        found = {"tokens": ids, "count": len(ids), "max_model_len": self._service.context}
        if fields.flag("return_token_strs"):
            found["token_strs"] = self._service.tokenizer.convert_ids_to_tokens(ids)
        return found

    def detokenize(self, fields: Fields) -> str:
        """Return the text of tokens, special ones included."""
        ids, most = fields.items("tokens"), num_ids(self._service)
        if not all(type(each) is int and 0 <= each < most for each in ids):
            fields.refuse("tokens", f"a list of token ids from 0 to {most - 1}")
        return self._service.tokenizer.decode(ids, clean_up_tokenization_spaces=False)

    def _ids(self, fields: Fields, name: str, special: bool) -> list[int]:
        text, split = fields.text(name) or "", not fields.flag("parse_special", True)
        with self._lock:
            if self._own is None:
                self._own = copy.deepcopy(self._service.tokenizer)
            return self._own(text, add_special_tokens=special, split_special_tokens=split, verbose=False)["input_ids"]


def _piece(token: int, service: Service) -> str | list[int]:
    """Return the text of a token, or its bytes where they are no text."""
    text = service.tokenizer.decode([token], clean_up_tokenization_spaces=False)
    vocabulary = vocabulary_of(service.tokenizer)
    if "\ufffd" not in text or vocabulary is None:
        return text
    return list(vocabulary.bytes_of.get(token, text.encode()))


def _info(service: Service) -> dict[str, Any]:
    tokenizer = service.tokenizer
    special = {f"{name}_token": getattr(tokenizer, f"{name}_token") for name in ("bos", "eos", "pad", "unk")}
    return {
        "tokenizer_class": type(tokenizer).__name__,
        "vocab_size": len(tokenizer),
        "model_max_length": service.context,
        "additional_special_tokens": sorted(
            (str(each) for each in tokenizer.added_tokens_decoder.values() if each.special), key=tokenizer.convert_tokens_to_ids
        ),
        "chat_template": None,
        **special,
    }
