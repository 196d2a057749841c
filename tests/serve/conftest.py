"""A server of a tiny random model in this process, on a real socket, and the ways to ask it."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from codeparrot.serve.loaded import Settings, engine_of, service_of
from codeparrot.serve.server import Server, address_of, listen
from codeparrot.serve.service import Limits, Service
from tests.conftest import with_sentinels

CONTEXT = 256


@pytest.fixture(scope="session")
def model_folder(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a tiny random GPT-2 and a tokenizer with sentinels."""
    folder = with_sentinels(tokenizer_folder, tmp_path_factory.mktemp("served") / "tiny")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    sizes: Any = {"vocab_size": len(tokenizer), "n_positions": CONTEXT, "n_embd": 32, "n_layer": 2, "n_head": 2}
    ends: Any = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
    # Larger weights than those a training begins with: the likeliest tokens differ from place to place.
    GPT2LMHeadModel(GPT2Config(**sizes, **ends, initializer_range=0.3)).save_pretrained(folder)
    return str(folder)


@dataclass(frozen=True)
class Served:
    """A running server."""

    service: Service
    address: str
    client: httpx2.Client

    def post(self, path: str, **body: Any) -> Any:
        """Post a body and return the JSON of the answer, which must be good."""
        answer = self.client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, status: int, path: str, **body: Any) -> Any:
        """Post a body that is refused with this status, and return the error."""
        answer = self.client.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()["error"]


def serving(model: str, settings: Settings | None = None, key: str | None = None, **limits: Any) -> Iterator[Served]:
    """Serve a model meanwhile, from a thread of this process."""
    settings = settings or Settings(batch_size=8, threads=1)
    service, there = service_of("tiny", settings, Limits(**limits)), threading.Event()
    with listen("127.0.0.1", 0) as bound:
        address, server = address_of(bound), Server(service, "127.0.0.1", key, 5)
        arguments = bound, lambda: engine_of(service, model, settings), there.set
        thread = threading.Thread(target=server.run_until_stopped, args=arguments)
        thread.start()
        assert there.wait(120)
        with httpx2.Client(base_url=address, timeout=60, trust_env=False) as client:
            yield Served(service, address, client)
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="package")
def served(model_folder: str) -> Iterator[Served]:
    yield from serving(model_folder)
