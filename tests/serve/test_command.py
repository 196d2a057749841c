"""`codeparrot serve` as a process: what it prints, how it ends."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.serve.command import serve
from codeparrot.serve.loaded import Settings, service_of
from codeparrot.serve.server import Server, listen
from tests.launching import ROOT

LONG = {"prompt": "def f(", "max_tokens": 200, "logit_bias": {"0": -100}}


@contextmanager
def started(*arguments: str, wait: bool = True) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """Run the command; yield the process, its address, and the lines that it has printed."""
    command = [sys.executable, "-m", "codeparrot", "serve", "--port", "0", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    lines: list[str] = []
    assert process.stderr is not None
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stderr.readline, "")), daemon=True)  # type: ignore[union-attr]
    reader.start()
    address = ""
    while wait and not address and process.poll() is None:
        found = re.search(r"at (http://\S+)", "".join(lines))
        address = found[1] if found else ""
        time.sleep(0.05)
    try:
        yield process, address, lines
    finally:
        process.kill()
        process.wait()
        reader.join(5)
        process.stderr.close()
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def asking(address: str, **body: Any) -> Iterator[httpx2.Response]:
    """Ask for a long completion."""
    client = httpx2.Client(base_url=address, timeout=60, trust_env=False)
    with client, client.stream("POST", "/v1/completions", json={**LONG, **body}) as answer:
        yield answer


@pytest.mark.slow
def test_it_prints_what_to_paste_and_sigterm_lets_a_request_finish(model_folder: str) -> None:
    with started("--checkpoint", model_folder, "--name", "nano") as (process, address, lines):
        text = "".join(lines)
        assert f'"llama-vscode.endpoint": "{address}"' in text
        assert f"let g:llama_config = {{'endpoint_fim': '{address}/infill'}}" in text
        assert f'base_url "{address}/v1"' in text and "nano" in text
        pieces: list[str] = []
        with asking(address, stream=True) as answer:
            for line in answer.iter_lines():
                if not pieces:
                    process.send_signal(signal.SIGTERM)
                pieces.append(line)
        assert [line for line in pieces if line][-1] == "data: [DONE]", "it finished"
        assert process.wait(30) == 0
        assert any(line.startswith("stopping: ") for line in lines)


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(model_folder: str) -> None:
    arguments = "--checkpoint", model_folder, "--grace_seconds", "60"
    # Prompts that are too many to be completed meanwhile.
    with started(*arguments) as (process, address, lines), asking(address, prompt=["x"] * 200, n=16, stream=True) as answer:
        pieces = answer.iter_lines()  # who drops it hangs up
        assert next(pieces)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 128 + signal.SIGTERM, "".join(lines)


@pytest.mark.slow
def test_what_does_not_finish_within_the_grace_is_told_so_and_the_status_is_0(model_folder: str) -> None:
    arguments = "--checkpoint", model_folder, "--grace_seconds", "1"
    long: dict[str, Any] = {"prompt": ["x"] * 200, "n": 16}
    whole: list[httpx2.Response] = []

    def ask() -> None:
        whole.append(httpx2.post(f"{address}/v1/completions", json={**LONG, **long}, timeout=60, trust_env=False))

    with started(*arguments) as (process, address, lines), asking(address, **long, stream=True) as answer:
        pieces = answer.iter_lines()  # who drops it hangs up
        assert next(pieces)
        asks = threading.Thread(target=ask)
        asks.start()
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as half:
            half.sendall(b"POST /infill HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
            time.sleep(1)
            process.send_signal(signal.SIGTERM)
            last = [line for line in pieces if line][-1]
            assert "the server is stopping" in json.loads(last.removeprefix("data: "))["error"]["message"]
            assert b"503" in half.recv(4096)
        asks.join(30)
        assert whole[0].status_code == 503 and whole[0].json()["error"]["type"] == "unavailable_error"
        assert process.wait(30) == 0
        assert "Traceback" not in "".join(lines)


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_one_line_and_status_1(model_folder: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in Path(model_folder).iterdir():
        (broken / file.name).write_bytes(file.read_bytes() if file.suffix != ".safetensors" else b"no weights")
    with started("--checkpoint", str(broken), wait=False) as (process, _, lines):
        assert process.wait(120) == 1
    assert "codeparrot: error: no model can be loaded" in "".join(lines) and "Traceback" not in "".join(lines)


@pytest.mark.parametrize("option", ["batch_size", "cache_tokens", "threads", "grace_seconds"])
def test_a_number_that_is_too_small_is_refused_before_anything_is_loaded(option: str) -> None:
    with pytest.raises(CodeparrotError, match=f"--{option} -1 is too few"):
        serve("nowhere", **{option: -1})  # type: ignore[arg-type]


def test_a_port_that_is_taken_is_one_line() -> None:
    with listen("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        with pytest.raises(
            CodeparrotError, match=rf"port {port} of 127.0.0.1 cannot be used: another program has it: give another"
        ):
            listen("127.0.0.1", port)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("no.such.host.invalid", 8012), ("203.0.113.7", 8012)])
def test_an_address_that_is_none_is_one_line(host: str, port: int) -> None:
    with pytest.raises(CodeparrotError, match=r"--(host|port)"):
        listen(host, port)


@pytest.mark.parametrize("option", ["batch_size", "cache_tokens", "threads", "grace_seconds"])
def test_a_number_below_its_least_is_one_line(option: str) -> None:
    given: dict[str, Any] = {option: -1}
    with pytest.raises(CodeparrotError, match=f"--{option} -1 is too few: at least"):
        serve("runs/nano", **given)


@pytest.mark.parametrize(("unfinished", "said"), [(0, ""), (1, "stopping: 1 request may finish; again: stop at once\n")])
def test_a_signal_speaks_of_requests_where_some_run(unfinished: int, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    service = service_of("tiny", Settings())
    waiting: Any = {object() for _ in range(unfinished)}
    service.desk._unfinished |= waiting
    server = Server(service, "127.0.0.1", None, 5)
    server.handle_exit(signal.SIGTERM, None)
    assert capfd.readouterr().err == said and server.should_exit
