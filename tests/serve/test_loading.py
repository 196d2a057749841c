"""The server answers while its model loads, and ends if it cannot be loaded."""

import json
import os
import socket
import sys
import threading
from pathlib import Path

import httpx2
import pytest
import torch

from codeparrot.errors import CodeparrotError
from codeparrot.serve import loaded
from codeparrot.serve.answers import to_line
from codeparrot.serve.loaded import MOST_CACHED, Settings, engine_of, name_of, service_of
from codeparrot.serve.server import Server, address_of, listen
from tests.serve.conftest import Served


def test_until_the_model_is_there_all_is_503(model_folder: str) -> None:
    settings, go, there = Settings(batch_size=2, threads=1), threading.Event(), threading.Event()
    service = service_of("tiny", settings)
    with listen("127.0.0.1", 0) as bound:
        server = Server(service, "127.0.0.1", None, 5)
        make = lambda: (go.wait(60), engine_of(service, model_folder, settings))[1]  # noqa: E731
        thread = threading.Thread(target=server.run_until_stopped, args=(bound, make, there.set))
        thread.start()
        with httpx2.Client(base_url=address_of(bound), timeout=60, trust_env=False) as client:
            for path in ("/health", "/v1/models"):
                answer = client.get(path)
                assert answer.status_code == 503 and "loading" in answer.text and int(answer.headers["retry-after"]) > 0
            assert client.post("/v1/completions", json={"prompt": "a"}).status_code == 503
            assert client.get("/metrics").status_code == 200
            go.set()
            assert there.wait(60)
            assert client.get("/health").json() == {"status": "ok"}
            service.state = "stopping"
            assert client.post("/v1/completions", json={"prompt": "a"}).status_code == 503
        server.should_exit = True
        thread.join(30)


def test_a_model_that_fails_to_load_ends_the_server_with_its_error() -> None:
    service = service_of("tiny", Settings())

    def make() -> None:
        raise CodeparrotError("no model")

    with listen("127.0.0.1", 0) as bound, pytest.raises(CodeparrotError, match="no model"):
        Server(service, "127.0.0.1", None, 5).run_until_stopped(bound, make)  # type: ignore[arg-type]


def test_a_mac_which_lacks_what_linux_has_serves_too(model_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT", raising=False)
    threads, settings = torch.get_num_threads(), Settings(batch_size=1)
    try:
        with listen("127.0.0.1", 0) as bound:
            assert address_of(bound).startswith("http://127.0.0.1:")
        assert engine_of(service_of("tiny", settings), model_folder, settings)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("/runs/nano/checkpoints/step_00000100/model", "nano"),
        ("/models/some model", "some-model"),
        ("/runs/gpt2-small/checkpoints/step_00000100/model", "codeparrot"),
        ("/models/qwen.gguf", "qwen"),
    ],
)
def test_the_name_is_the_runs_without_gpt_by_which_clients_choose_templates(model: str, name: str) -> None:
    assert name_of(model) == name


def test_facts_tell_the_model(served: Served) -> None:
    facts = served.service.facts
    assert facts["parameters"] == sum(each.numel() for each in served.service.model.parameters())
    assert facts["context"] == served.service.context and facts["run"] is None and facts["curve"] == []


def test_a_loss_that_is_not_finite_is_a_gap_in_the_curve(tmp_path: Path) -> None:
    rows = [
        {"step": step, "tokens": 10 * step, "loss": loss} for step, loss in ((1, 5.0), (2, None), (3, float("inf")), (4, 4.0))
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    curve = loaded._curve(tmp_path)
    assert [10, 5.0] in curve and [40, 4.0] in curve and [30, None] in curve
    assert "NaN" not in to_line(curve)


def test_the_prefix_cache_takes_no_more_memory_for_a_larger_model(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    model = served.service.model
    each = 2 * model.config.n_layer * model.config.n_embd * 4  # bytes of a token
    assert loaded._cache_tokens(model, MOST_CACHED) == MOST_CACHED
    monkeypatch.setattr(loaded, "CACHE_BYTES", 1000 * each)
    assert loaded._cache_tokens(model, MOST_CACHED) == 1000 and loaded._cache_tokens(model, 0) == 0
