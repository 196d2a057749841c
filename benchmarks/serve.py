"""Completion servers: tokens a second with 1, 4 and 8 clients, a keystroke's latency, and what log probabilities cost.

The model is a GPT-2 of 12.6M parameters with random weights, since speed does not depend on them. Each request has another
prompt of 465 tokens of code and asks for 32 new ones. The peers are `transformers serve --continuous-batching` and llama.cpp's
server in f32 (from the wheel xllamacpp, on the file that `codeparrot export` writes). Every server runs in a process of its
own, alone.

A keystroke sends the prompt again, one character longer. Its latency is measured to the first text and to the last token.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.common import DATA, Ratio, corpus, report, tokenizer

MODEL: dict[str, Any] = {"vocab_size": 32768, "n_positions": 1024, "n_embd": 256, "n_layer": 5, "n_head": 8}
PROMPT_TOKENS, NEW_TOKENS = 465, 32
CLIENTS = (1, 4, 8)
EACH = 6
"""Requests of each client."""
KEYSTROKES, ROUNDS = 40, 5
FOLDER = DATA / "serve"
START_SECONDS = 180
_FRESH = count()
"""Numbers of prompts that no server has seen."""


def model() -> Path:
    """Make the model and its GGUF file once; return its folder."""
    folder = FOLDER / "model"
    if not folder.exists():
        import torch
        from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

        torch.manual_seed(0)
        words: Any = AutoTokenizer.from_pretrained(tokenizer(MODEL["vocab_size"]))
        settings = MODEL | {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
        GPT2LMHeadModel(GPT2Config(**settings)).save_pretrained(folder)
        words.save_pretrained(folder)
        arguments = ["--checkpoint", str(folder), "--output", str(FOLDER / "model.gguf"), "--type", "f32"]
        subprocess.run(["codeparrot", "export", *arguments], check=True)
    return folder


def prompts() -> list[str]:
    """Return texts of 465 tokens, of as many documents."""
    import pyarrow.parquet as pq
    from transformers import AutoTokenizer

    words: Any = AutoTokenizer.from_pretrained(model())
    shard = next(corpus().glob("train-*.parquet"))
    texts = pq.read_table(shard, columns=["content"])["content"].slice(0, 2000).to_pylist()
    encoded = (words(text[: 20 * PROMPT_TOKENS], verbose=False)["input_ids"] for text in texts)
    return [words.decode(ids[:PROMPT_TOKENS]) for ids in encoded if len(ids) >= PROMPT_TOKENS]


def llama_cpp(port: int) -> None:
    """Serve the GGUF file until the process is ended."""
    import importlib

    library: Any = importlib.import_module("xllamacpp")
    settings = library.CommonParams()
    settings.model.path, settings.port, settings.verbosity = str(FOLDER / "model.gguf"), port, -1
    settings.n_parallel = max(CLIENTS)
    settings.n_ctx = MODEL["n_positions"] * settings.n_parallel
    server = library.Server(settings)
    while server.listening_address:
        time.sleep(1)


def commands(port: int) -> dict[str, list[str]]:
    folder, python = str(model()), sys.executable
    peer = ["transformers", "serve", folder, "--continuous-batching", "--device", "cpu", "--port", str(port)]
    return {
        "codeparrot": ["codeparrot", "serve", "--checkpoint", folder, "--port", str(port)],
        "transformers": peer,
        "llama.cpp": [python, "-m", "benchmarks.serve", "llama.cpp", str(port)],
    }


class Client:
    """Asks a server for completions as OpenAI's clients do."""

    def __init__(self, port: int, name: str) -> None:
        self._url, self._model = f"http://127.0.0.1:{port}/v1/completions", name

    def post(self, prompt: str, **more: Any) -> Any:
        settings = {"max_tokens": NEW_TOKENS, "temperature": 0, **more}
        body = json.dumps({"model": self._model, "prompt": prompt, **settings}).encode()
        return urllib.request.urlopen(urllib.request.Request(self._url, body, {"Content-Type": "application/json"}))

    def tokens(self, prompt: str, **more: Any) -> int:
        """Complete; return how many tokens were written."""
        with self.post(prompt, **more) as answer:
            return json.load(answer)["usage"]["completion_tokens"]

    def latencies(self, prompt: str) -> tuple[float, float]:
        """Complete as a stream; return the seconds to its first text and to its end."""
        start, first = time.perf_counter(), 0.0
        with self.post(prompt, stream=True) as answer:
            for line in answer:
                data = line.removeprefix(b"data: ").strip()
                if not first and data.startswith(b"{") and json.loads(data)["choices"][0].get("text"):
                    first = time.perf_counter() - start
        total = time.perf_counter() - start
        return first or total, total


@contextmanager
def serving(name: str) -> Iterator[Client]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (FOLDER / f"{name}.log").open("w") as log:
        server = subprocess.Popen(commands(port)[name], stdout=log, stderr=log)
        try:
            client = Client(port, str(model()) if name == "transformers" else _name(port, server))
            _until_ready(client, server)
            yield client
        finally:
            server.terminate()
            server.wait(60)


def _name(port: int, server: subprocess.Popen[bytes]) -> str:
    """Return the first model that a server names, once it does."""
    for _ in _seconds(server):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models") as answer:
                return json.load(answer)["data"][0]["id"]
        except urllib.error.URLError:
            continue
    raise SystemExit("a server did not start: see its log in data/benchmarks/serve")


def _until_ready(client: Client, server: subprocess.Popen[bytes]) -> None:
    for _ in _seconds(server):
        try:
            client.tokens("x = 1\n", max_tokens=2)
            return
        except (urllib.error.URLError, ConnectionError):
            continue
    raise SystemExit("a server did not answer: see its log in data/benchmarks/serve")


def _seconds(server: subprocess.Popen[bytes]) -> Iterator[int]:
    for second in range(START_SECONDS):
        if server.poll() is not None:
            return
        yield second
        time.sleep(1)


def throughput(client: Client, texts: list[str], clients: int, **more: Any) -> float:
    """Return tokens a second of so many clients, each with one request at a time."""
    asked = [[texts[next(_FRESH) % len(texts)] for _ in range(EACH)] for _ in range(clients)]
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        written = sum(pool.map(lambda mine: sum(client.tokens(text, **more) for text in mine), asked))
    seconds = time.perf_counter() - start
    assert written >= 0.9 * clients * EACH * NEW_TOKENS, f"completions end early: {written} tokens"
    return written / seconds


def keystrokes(client: Client, text: str) -> tuple[list[float], list[float]]:
    """Return the latencies of a prompt that grows by one character at a time: to the first text, and to the end."""
    whole = text[: -KEYSTROKES - 1]
    client.latencies(whole)
    found = [client.latencies(text[: len(whole) + typed]) for typed in range(1, KEYSTROKES + 1)]
    return [first for first, _ in found], [total for _, total in found]


def main() -> None:
    if len(sys.argv) > 1:
        llama_cpp(int(sys.argv[2]))
        return
    texts = prompts()
    rates: dict[tuple[str, int], float] = {}
    with serving("codeparrot") as client:
        throughput(client, texts, 1)
        first, total = keystrokes(client, texts[next(_FRESH) % len(texts)])
        cold = [client.latencies(texts[next(_FRESH) % len(texts)]) for _ in range(ROUNDS)]
        pairs = [(throughput(client, texts, 1, logprobs=5), throughput(client, texts, 1)) for _ in range(ROUNDS)]
    for name in ("codeparrot", "transformers", "llama.cpp"):
        with serving(name) as client:
            throughput(client, texts, 1)
            rates |= {(name, clients): throughput(client, texts, clients) for clients in CLIENTS}
    report(
        f"serve: prompts of {PROMPT_TOKENS} tokens, {NEW_TOKENS} new ones, GPT-2 of 12.6M parameters, fp32",
        ratios(rates, first, total, pairs),
        {
            **{f"{name}, {clients} clients, tokens/s": f"{rate:.1f}" for (name, clients), rate in rates.items()},
            "cold: first text, p50": f"{statistics.median(each[0] for each in cold) * 1000:.0f} ms",
            "cold: all tokens, p50": f"{statistics.median(each[1] for each in cold) * 1000:.0f} ms",
            "threads": os.environ.get("OMP_NUM_THREADS", str(os.cpu_count())),
        },
    )


def ratios(
    rates: dict[tuple[str, int], float], first: list[float], total: list[float], pairs: list[tuple[float, float]]
) -> list[Ratio]:
    def against(peer: str, clients: int, target: float) -> Ratio:
        words = f"{clients} client{'s' if clients > 1 else ''} against {peer}"
        return Ratio(words, rates["codeparrot", clients], rates[peer, clients], "tokens/s", target)

    def late(words: str, seconds: list[float], percent: int, most: float) -> Ratio:
        value = statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1] * 1000
        return Ratio(f"keystroke, {words}, p{percent}, against {most:.0f} ms", value, most, "ms", 1.0, higher_is_better=False)

    with_, without = (statistics.median(side) for side in zip(*pairs, strict=True))
    return [
        against("transformers", 1, 1.0),
        against("transformers", 4, 2.0),
        against("transformers", 8, 2.0),
        against("llama.cpp", 1, 0.7),
        against("llama.cpp", 4, 0.7),
        against("llama.cpp", 8, 1.0),
        *(late("first text", first, percent, most) for percent, most in ((50, 150.0), (95, 300.0))),
        *(late("all tokens", total, percent, most) for percent, most in ((50, 150.0), (95, 300.0))),
        Ratio("with log probabilities against without", with_, without, "tokens/s", 0.9),
    ]


if __name__ == "__main__":
    main()
