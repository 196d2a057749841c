"""`/v1/search` tells what the command tells, beside completions, to those who may talk to the server."""

import json
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.search.build import build
from codeparrot.search.embedding import Embedder
from codeparrot.search.query import query
from codeparrot.serve.command import greeting, serve
from codeparrot.serve.loaded import Settings, engine_of, service_of
from tests.search.conftest import SOURCES, tiny
from tests.serve.conftest import Served, serving
from tests.serve.test_robust import BODIES, mutated, until

PATH = "/v1/search"
SPLIT = "def split(text):\n    return text.split()"


def sources(folder: Path) -> Path:
    """Write a small tree."""
    for name, text in SOURCES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def encoder(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny masked model: an index's may be another than the served one, and of another kind."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(tokenizer_folder)
    folder = tmp_path_factory.mktemp("encoder") / "roberta"
    tiny("roberta", tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def index(encoder: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("indexed")
    build(str(sources(folder / "tree")), checkpoint=encoder, output=str(folder / "index"))
    return str(folder / "index")


@pytest.fixture(scope="module")
def finding(model_folder: str, index: str) -> Iterator[Served]:
    """A server with an index of another model."""
    yield from serving(model_folder, Settings(batch_size=8, threads=1, index=index), queue=2, body_seconds=0.5)


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ({"text": SPLIT}, {"text": SPLIT}),
        ({"text": "read a table", "top": 3}, {"text": "read a table", "top": 3}),
        ({"like": "deep/words.py:4", "top": 2}, {"text": "-", "like": "deep/words.py:4", "top": 2}),
    ],
)
def test_it_tells_what_the_command_tells(asked: dict[str, Any], options: dict[str, Any], finding: Served, index: str) -> None:
    told, expected = finding.post(PATH, **asked), query(**options, index=index).data
    scores = [[hit.pop("score") for hit in each["hits"]] for each in (told, expected)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5) and scores[0]
    assert told == json.loads(json.dumps(expected))


def test_a_place_is_named_as_seen_from_the_tree_or_whole(finding: Served, index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(query(SPLIT, index=index).data["root"])
    monkeypatch.chdir(root / "deep")  # where the server runs says nothing of its clients
    assert "no file words.py" in finding.refused(400, PATH, like="words.py:4")["message"]
    for place in ("deep/words.py:5", f"{root}/deep/words.py:5", "./deep/../deep/words.py:5"):
        assert finding.post(PATH, like=place)["like_chunk"]["name"] == "split"


@pytest.mark.parametrize(
    ("asked", "param", "message"),
    [
        ({}, "text", "there is nothing to look for: give text, or like, as FILE:LINE"),
        ({"text": " \n"}, "text", "text is empty"),
        ({"text": "x", "like": "table.py:1"}, "like", "give one of them"),
        ({"text": 3}, "text", "text must be a text"),
        ({"text": "x" * 20_001}, "text", "at most 20000 characters"),
        ({"text": "\ud800"}, "text", "half of a surrogate pair"),
        ({"text": "x", "top": 0}, "top", "top must be an integer from 1 to 100"),
        ({"text": "x", "top": 101}, "top", "top must be an integer from 1 to 100"),
        ({"like": "table.py"}, "like", 'like "table.py" is no place: write FILE:LINE'),
        ({"like": "table.py:" + "9" * 5000}, "like", "nothing at this line"),
        ({"like": "tablr.py:1"}, "like", 'no file tablr.py; did you mean "table.py"'),
        ({"like": "table.py:99"}, "like", "nothing at this line"),
        ({"like": "a\0b:1"}, "like", "is no place"),
        ({"like": "~nobody-here/x.py:1"}, "like", "no home folder"),
        ({"like": "../../etc/passwd:1"}, "like", "the index has no file"),
    ],
)
def test_what_is_wrong_is_named(asked: dict[str, Any], param: str, message: str, finding: Served) -> None:
    answer = finding.client.post(PATH, content=json.dumps(asked))
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["param"] == param and message in error["message"], answer.text
    assert len(error["message"].splitlines()) == 1


def test_malformed_searches_are_answered_or_refused(finding: Served) -> None:
    import random

    draw = random.Random(0)
    for body in ({"text": "split words", "top": 3}, {"like": "table.py:4", "top": 3}):
        for _ in range(15):
            sent = mutated(json.dumps(body).encode(), draw)
            assert finding.client.post(PATH, content=sent).status_code in (200, 400), sent
    assert PATH not in BODIES, "its server has no index"


def test_without_an_index_it_is_404_with_the_remedy(served: Served) -> None:
    error = served.refused(404, PATH, text="x")
    assert "start it with --search INDEX" in error["message"] and error["code"] == "no_index"
    assert served.client.get("/facts").json()["search"] is None
    assert served.client.get(PATH).status_code == 405


def test_the_facts_of_the_page_and_the_greeting_tell_of_the_index(finding: Served, index: str) -> None:
    facts = query(SPLIT, index=index).data
    assert finding.client.get("/facts").json()["search"] == {name: facts[name] for name in ("root", "files", "chunks")}
    assert f"search       8 chunks of 3 files in {facts['root']}" in greeting(finding.service, "http://x")


def test_it_is_guarded_as_all_else(model_folder: str, index: str) -> None:
    body = {"text": "x", "top": 1}
    settings = Settings(batch_size=8, threads=1, index=index)
    for locked in serving(model_folder, settings, key="a-key-of-sixteen", body_bytes=1000):
        assert locked.client.post(PATH, json=body).status_code == 401
        locked.client.headers["Authorization"] = "Bearer a-key-of-sixteen"
        assert locked.client.post(PATH, json=body).status_code == 200
        assert locked.client.post(PATH, json=body, headers={"Host": "evil.example"}).status_code == 403
        assert locked.client.post(PATH, json=body, headers={"Origin": "https://evil.example"}).status_code == 403
        assert locked.client.post(PATH, json={"text": "x" * 2000}).status_code == 413


class Held:
    """Holds the thread of searches until it may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.texts, embed = threading.Event(), [], Embedder.embed

        def held(embedder: Embedder, texts: Any, what: str = "") -> Any:
            self.texts += texts
            assert self.go.wait(60)
            return embed(embedder, texts, what)

        monkeypatch.setattr(Embedder, "embed", held)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    found = Held(monkeypatch)
    yield found
    found.go.set()


class Asking(threading.Thread):
    """A search of a client that waits for its answer."""

    def __init__(self, server: Served, **body: Any) -> None:
        super().__init__()
        self._server, self._body, self.told = server, body, None
        self.start()

    def run(self) -> None:
        self.told = self._server.post(PATH, **self._body)


def test_completions_go_on_beside_a_search(finding: Served, held: Held) -> None:
    asked = {"prompt": "def f(", "max_tokens": 8, "seed": 3}
    search = Asking(finding, text="held")
    assert until(lambda: held.texts == ["held"])
    beside = finding.post("/v1/completions", **asked)["choices"]
    assert search.is_alive() and finding.client.get("/facts").status_code == 200
    held.go.set()
    search.join(30)
    assert search.told and search.told["hits"]
    assert finding.post("/v1/completions", **asked)["choices"] == beside


def raw(server: Served, sent: str) -> socket.socket:
    host, port = server.address.removeprefix("http://").split(":")
    found = socket.create_connection((host, int(port)), timeout=20)
    found.sendall(sent.encode())
    return found


def test_a_client_that_is_slow_keeps_no_search_waiting(finding: Served) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{{"
    with raw(finding, head) as slow:
        assert finding.post(PATH, text="x")["hits"]
        assert b" 408 " in slow.recv(4096)


def test_more_than_may_wait_are_told_to_come_again_and_who_leaves_is_not_searched_for(finding: Served, held: Held) -> None:
    first = Asking(finding, text="first")
    assert until(lambda: held.texts == ["first"])
    body = json.dumps({"text": "left"})
    with raw(finding, f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}"):
        assert until(lambda: finding.service.searcher is not None and finding.service.searcher._waiting == 2)
        answer = finding.client.post(PATH, json={"text": "third"})
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
    assert until(lambda: finding.service.searcher is not None and finding.service.searcher._waiting == 1)
    second = Asking(finding, text="second")
    held.go.set()
    for each in (first, second):
        each.join(30)
    assert held.texts == ["first", "second"]


def test_a_search_that_waits_too_long_is_told_so(finding: Served, held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setattr(finding.service, "limits", replace(finding.service.limits, seconds=0.2))
    assert "waited too long" in finding.refused(503, PATH, text="slow")["message"]


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (MemoryError(), 503, "memory does not suffice"),
        (CodeparrotError("the model gives vectors that are no numbers"), 500, "no numbers"),
        (ValueError("a defect"), 500, "its log says why"),
    ],
)
def test_a_search_that_fails_does_so_alone(
    error: Exception, status: int, said: str, finding: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(Embedder, "embed", fail)
        assert said in finding.refused(status, PATH, text="x")["message"]
    assert finding.post(PATH, text="x")["hits"]


@pytest.fixture
def own(model_folder: str, tmp_path: Path) -> Iterator[tuple[Served, Path]]:
    """A server that searches with the model that it serves, and the folder with its tree."""
    build(str(sources(tmp_path / "tree")), checkpoint=model_folder, output=str(tmp_path / "index"))
    for server in serving(model_folder, Settings(batch_size=8, threads=1, index=str(tmp_path / "index"))):
        yield server, tmp_path


def test_an_index_that_is_built_again_is_opened_at_the_next_search(
    own: tuple[Served, Path], model_folder: str, encoder: str
) -> None:
    server, folder = own
    (folder / "tree" / "new.py").write_text("def added():\n    return 1\n", encoding="utf-8")
    (folder / "tree" / "table.py").write_text("TABLE = 1\n", encoding="utf-8")
    (folder / "tree" / "notes.md").unlink()
    told = server.post(PATH, text="def added():\n    return 1")
    assert (told["changed"], told["gone"]) == (["table.py"], ["notes.md"])
    assert {hit["state"] for hit in told["hits"] if hit["path"] == "table.py"} == {"changed"}
    build(str(folder / "tree"), checkpoint=model_folder, output=str(folder / "index"))
    told = server.post(PATH, text="def added():\n    return 1")
    assert told["hits"][0]["name"] == "added" and told["changed"] == told["gone"] == []
    assert server.client.get("/facts").json()["search"]["files"] == 3

    shutil.rmtree(folder / "index")
    assert "is no index that can be searched" in server.refused(500, PATH, text="x")["message"]
    build(str(folder / "tree"), checkpoint=encoder, output=str(folder / "index"))
    assert "another model" in server.refused(500, PATH, text="x")["message"]
    assert server.post("/v1/completions", prompt="x", max_tokens=1)


def starting(model: str, index: str, checkpoint: str = "") -> Any:
    """Load what a server needs."""
    service = service_of("x", Settings())
    engine_of(service, model, Settings(index=index, index_checkpoint=checkpoint))
    return service.searcher


def test_an_index_that_cannot_be_searched_ends_the_start(
    index: str, encoder: str, model_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = shutil.copytree(encoder, tmp_path / "here")
    moved = str(tmp_path / "moved")
    build(str(sources(tmp_path / "tree")), checkpoint=str(copied), output=moved)
    copied.rename(tmp_path / "there")
    assert starting(model_folder, moved, str(tmp_path / "there")).facts["files"] == 3
    monkeypatch.setattr("codeparrot.serve.loaded.load_model", lambda *_: pytest.fail("the served model was loaded first"))
    with pytest.raises(CodeparrotError, match="is gone: say with --search_checkpoint where it lies now"):
        starting(model_folder, moved)
    with pytest.raises(CodeparrotError, match="is another model than the index's"):
        starting(model_folder, index, model_folder)
    with pytest.raises(CodeparrotError, match="is no index that can be searched"):
        starting(model_folder, str(tmp_path / "tree"))
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ModuleNotFoundError, match="faiss"):  # the command makes one line of it, as of all commands
        starting(model_folder, str(tmp_path / "tree"))


def test_a_model_of_no_index_is_refused() -> None:
    with pytest.raises(CodeparrotError, match="name the index with --search"):
        serve("nowhere", search_checkpoint="x")


@pytest.mark.slow
def test_the_command_serves_an_index(model_folder: str, index: str) -> None:
    import httpx2

    from tests.serve.test_command import started

    with started("--checkpoint", model_folder, "--search", index) as (process, address, lines):
        assert "search       8 chunks of 3 files" in "".join(lines)
        began = time.monotonic()
        told = httpx2.post(f"{address}{PATH}", json={"text": SPLIT}, timeout=60, trust_env=False).json()
        assert told["hits"] and time.monotonic() - began < 60
        process.terminate()
        assert process.wait(30) == 0
    with started("--checkpoint", model_folder, "--search", model_folder, wait=False) as (process, _, lines):
        assert process.wait(120) == 1
    assert "is no index that can be searched" in lines[-1] and "Traceback" not in "".join(lines)
