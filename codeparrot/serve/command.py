"""`codeparrot serve`: completions of a checkpoint for editors, over HTTP."""

import logging
import os
from typing import TYPE_CHECKING, Literal

from codeparrot.errors import CodeparrotError
from codeparrot.generation.endings import checked_language
from codeparrot.location import path_of
from codeparrot.result import Result, say
from codeparrot.text_files import read_text

if TYPE_CHECKING:
    from codeparrot.serve.service import Service

KEY = "CODEPARROT_API_KEY"
"""Environment variable with the key."""


def serve(
    checkpoint: str,
    host: str = "127.0.0.1",
    port: int = 8012,
    api_key: str | None = None,
    api_key_file: str | None = None,
    name: str | None = None,
    batch_size: int = 16,
    cache_tokens: int = 65_536,
    threads: int = 0,
    grace_seconds: int = 10,
    device: str = "auto",
    stop: Literal["language", "block", "function", "none"] = "none",
    language: str = "",
    search: str = "",
    search_checkpoint: str = "",
) -> Result:
    """Serve completions of a checkpoint to editors and other clients, and a page at / to look into the model.

    Args:
        checkpoint: A run (its newest checkpoint), a checkpoint, a model folder, a .gguf file, or a name on the Hub.
        host: Address to listen at. Another than this machine's own needs an API key.
        port: Port to listen at; 0: any that is free. Editors expect 8012.
        api_key: Key that clients must send. Programs on this machine can read it here: the environment's CODEPARROT_API_KEY
            or a file is better.
        api_key_file: File with the key.
        name: Name of the model that clients see; default: the run's.
        batch_size: Completions at a time; others wait.
        cache_tokens: Tokens of prompts that are kept, so that the next keystroke is fast, in at most 1 GiB; 0: none.
        threads: Threads to compute with; 0: as many as there are cores, which is also the most.
        grace_seconds: How long running requests may go on after SIGTERM or Ctrl-C.
        device: Where to run: cpu, cuda, cuda:1, mps; auto takes the first accelerator, if any.
        stop: Where completions end besides the texts that requests name: before the next block at the top level (language),
            with the cursor's block, by indentation (block), with its function (function), or nowhere (none). A request's
            stop_at wins.
        language: Language of requests that show none; empty: their completions end with the block.
        search: Index to search, a folder that codeparrot search build wrote; its model is loaded too. Empty: none.
        search_checkpoint: Where the model of the index lies now, if it was moved.
    """
    least_of = {"batch_size": (batch_size, 1), "cache_tokens": (cache_tokens, 0), "threads": (threads, 0)}
    for option, (value, least) in (least_of | {"grace_seconds": (grace_seconds, 0)}).items():
        if value < least:
            raise CodeparrotError(f"--{option} {value} is too few: at least {least}")
    if search_checkpoint and not search:
        raise CodeparrotError("--search_checkpoint is the model of an index: name the index with --search")
    named = checked_language(language) if language else ""
    key = read_key(api_key, api_key_file)
    # Each token reads all weights: from large pages of memory in two thirds of the time. torch looks at this once.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    from codeparrot.loading import find_model
    from codeparrot.serve.guard import is_local
    from codeparrot.serve.loaded import Settings, engine_of, name_of, service_of
    from codeparrot.serve.server import Server, address_of, listen

    if not is_local(host) and key is None:
        remedy = f"set {KEY} in the environment, or give --api_key_file"
        raise CodeparrotError(f"--host {host} lets other machines in, which needs a key: {remedy}")
    # An editor sends a prompt that is too long with every keystroke; the answer says that it was cut.
    logging.getLogger("codeparrot.generation.prompts").setLevel(logging.ERROR)
    settings = Settings(batch_size, cache_tokens, threads, device, search, search_checkpoint)
    with listen(host, port) as bound:
        model, address = find_model(checkpoint), address_of(bound)
        service = service_of(name or name_of(model), settings)
        service.stop, service.language = stop, named
        server = Server(service, host, key, grace_seconds)
        with server.stopped_by_signals():
            server.run_until_stopped(
                bound, lambda: engine_of(service, model, settings), lambda: say(greeting(service, address))
            )
    return Result(f"stopped      {service.name}", {"address": address, "model": service.name, "checkpoint": model})


def read_key(given: str | None, file: str | None) -> str | None:
    """Return the key that clients must send, from the option, a file or the environment, in this order; None: none.

    Raises:
        CodeparrotError: it is empty or not printable ASCII, which a header can carry.
    """
    if given is not None:
        logging.getLogger(__name__).warning("other users of this machine can read --api_key with ps: %s is safer", KEY)
    key = given if given is not None else read_text(path_of(file)).strip() if file is not None else os.environ.get(KEY)
    if key is not None and not (key and key.isascii() and key.isprintable() and " " not in key):
        raise CodeparrotError("the API key must be letters, digits and signs of ASCII, without spaces")
    return key


def greeting(service: "Service", address: str) -> str:
    """Return what to tell a user: the address, and what to paste into an editor."""
    return f"""
serving      {service.name} at {address}
page         {address}/{_searching(service)}
llama.vscode "llama-vscode.endpoint": "{address}"
llama.vim    let g:llama_config = {{'endpoint_fim': '{address}/infill'}}
OpenAI       base_url "{address}/v1", model "{service.name}"
             Ctrl-C ends it"""


def _searching(service: "Service") -> str:
    """Return a line about the index; empty where there is none."""
    if service.searcher is None:
        return ""
    facts = service.searcher.facts
    return f"\nsearch       {facts['chunks']:,} chunks of {facts['files']:,} files in {facts['root']}"
