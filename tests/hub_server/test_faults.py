"""Each fault does what it says, to the real client."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, constants
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import get_session

from tests.hub_server.fixture import HubServer

pytestmark = pytest.mark.usefixtures("clean")


@pytest.fixture
def clean(hub: HubServer) -> Iterator[None]:
    yield
    hub.faults.clear()
    hub.forget_requests()


@pytest.fixture(scope="module")
def repo(hub: HubServer) -> str:
    return hub.api().create_repo("me/model").repo_id


def commit(hub: HubServer, repo: str, content: bytes | None = None, path: str = "file") -> None:
    operation = CommitOperationAdd(path, content or os.urandom(8).hex().encode())
    hub.api().create_commit(repo, [operation], commit_message="a commit")


def titles(hub: HubServer, repo: str) -> int:
    return len(hub.commits(repo))


@pytest.mark.parametrize("status", [429, 500, 502, 504])
def test_an_error_is_the_answer_as_often_as_it_is_asked_for_and_nothing_is_done(hub: HubServer, repo: str, status: int) -> None:
    before = titles(hub, repo)
    hub.faults.answer(status, times=2, path="/commit/", retry_after=7)
    for _ in range(2):
        with pytest.raises(HfHubHTTPError) as caught:
            commit(hub, repo)
        assert (caught.value.response.status_code, caught.value.response.headers["Retry-After"]) == (status, "7")
    assert titles(hub, repo) == before
    commit(hub, repo)
    assert titles(hub, repo) == before + 1
    assert [each["fault"] for each in hub.requests if "/commit/" in each["path"]] == ["answer", "answer", None]


def test_a_share_of_the_requests_fails_the_same_ones_for_the_same_seed(hub: HubServer, repo: str) -> None:
    def outcomes() -> list[int]:
        number = hub.faults.answer(500, share=0.5, seed=3, method="GET", path="/refs$")
        found = [get_session().get(f"{hub.url}/api/models/{repo}/refs").status_code for _ in range(20)]
        hub.faults.remove(number)
        return found

    first = outcomes()
    assert set(first) == {200, 500}
    assert outcomes() == first


def test_a_fault_lets_as_many_requests_pass_as_it_is_told(hub: HubServer, repo: str) -> None:
    hub.faults.answer(500, skip=2, times=1, path=f"/{repo}/refs$")
    assert [httpx2.get(f"{hub.url}/api/models/{repo}/refs").status_code for _ in range(4)] == [200, 200, 500, 200]


def test_the_client_waits_as_long_as_retry_after_says(hub: HubServer, repo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", waited.append)
    hub.faults.answer(429, retry_after=3, times=1, path="/preupload/")
    commit(hub, repo)
    assert waited == [4]  # it adds a second


def test_connections_are_refused_until_they_are_accepted_again(hub: HubServer, repo: str) -> None:
    hub.api().model_info(repo)  # opens a connection
    hub.faults.refuse()
    for _ in range(2):
        with pytest.raises(httpx2.NetworkError):
            hub.api().model_info(repo)
    hub.faults.refuse()
    hub.faults.accept()
    hub.faults.accept()
    assert hub.api().model_info(repo)


def test_a_request_is_held_for_a_time(hub: HubServer, repo: str) -> None:
    hub.faults.stall(0.3, times=1)
    start = time.monotonic()
    assert hub.api().model_info(repo)
    assert time.monotonic() - start >= 0.3


def test_a_commit_whose_client_gave_up_while_it_was_held_is_not_carried_out(hub: HubServer, repo: str) -> None:
    before = titles(hub, repo)
    rule = hub.faults.stall(path="/commit/")
    request: dict[str, Any] = {
        "url": f"{hub.url}/api/models/{repo}/commit/main",
        "headers": {"Authorization": f"Bearer {hub.token}"},
        "json": {"key": "header", "value": {"summary": "an empty commit"}},
    }
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(**request, timeout=httpx2.Timeout(60, read=0.5))
    hub.wait_for_request("/commit/", fault="stall")
    hub.faults.remove(rule)
    assert httpx2.post(**request).status_code == 200
    assert titles(hub, repo) == before + 1


def test_a_held_request_goes_on_when_it_is_let_go(hub: HubServer, repo: str) -> None:
    before = titles(hub, repo)
    rule = hub.faults.stall(path="/commit/")
    thread = threading.Thread(target=commit, args=(hub, repo))
    thread.start()
    hub.wait_for_request("/commit/", fault="stall")
    assert titles(hub, repo) == before
    hub.faults.remove(rule)
    thread.join()
    assert titles(hub, repo) == before + 1


def test_an_upload_that_is_cut_off_leaves_nothing_and_is_tried_again(hub: HubServer, repo: str) -> None:
    weights = os.urandom(3_000_000)
    hub.faults.cut_upload(1_000_000, times=1)
    commit(hub, repo, weights, "model.safetensors")
    first, second = [each for each in hub.requests if each["method"] == "PUT"]
    assert (first["status"], first["fault"], second["status"]) == (None, "cut_upload", 200)
    assert 1_000_000 <= first["received_bytes"] < 3_000_000 == second["received_bytes"]
    assert hub.files(repo)["model.safetensors"] == weights
    objects = [path for path in (hub.folder / "models").rglob("lfs/objects/**/*") if path.is_file()]
    assert hashlib.sha256(weights).hexdigest() in [path.name for path in objects]
    assert all(len(path.name) == 64 for path in objects)


def test_a_download_that_is_cut_off_is_too_short(hub: HubServer, repo: str) -> None:
    commit(hub, repo, b"x" * 1_000, "long")
    hub.faults.cut_download(10, times=1, path="/resolve/")
    with pytest.raises(httpx2.RemoteProtocolError, match="peer closed connection"):
        httpx2.get(f"{hub.url}/{repo}/resolve/main/long")
    assert httpx2.get(f"{hub.url}/{repo}/resolve/main/long", headers={"Range": "bytes=990-"}).content == b"x" * 10


def test_a_commit_whose_answer_is_lost_is_there(hub: HubServer, repo: str) -> None:
    before = titles(hub, repo)
    hub.faults.lose_answer(times=1, path="/commit/")
    with pytest.raises(httpx2.RemoteProtocolError):
        commit(hub, repo, b"this content\n")
    assert titles(hub, repo) == before + 1
    commit(hub, repo, b"this content\n")  # the client sees that it already exists
    assert titles(hub, repo) == before + 1


def test_a_parent_is_rejected(hub: HubServer, repo: str) -> None:
    hub.faults.reject_parent(times=1)
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as caught:
        commit(hub, repo)
    assert caught.value.response.status_code == 412
    commit(hub, repo)


def test_a_token_is_denied_until_it_is_allowed_again(hub: HubServer, repo: str) -> None:
    hub.faults.deny()
    with pytest.raises(HfHubHTTPError, match="Invalid user token") as caught:
        hub.api().whoami()
    assert caught.value.response.status_code == 401
    with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
        commit(hub, repo)
    hub.faults.allow()
    commit(hub, repo)


def test_uploads_share_the_speed_that_is_given(hub: HubServer, repo: str) -> None:
    hub.faults.limit_uploads(1_000_000)
    start = time.monotonic()
    operations = [CommitOperationAdd(f"{number}.bin", os.urandom(250_000)) for number in range(2)]
    hub.api().create_commit(repo, operations, commit_message="two files")
    assert time.monotonic() - start >= 0.5
    assert len([each for each in hub.requests if each["method"] == "PUT"]) == 2


def test_a_hub_that_was_killed_goes_on_where_it_was(hub: HubServer, repo: str) -> None:
    before, port = titles(hub, repo), hub.port
    hub.kill()
    with pytest.raises(httpx2.ConnectError):
        hub.api().model_info(repo)
    hub.start()
    assert hub.port == port
    commit(hub, repo)
    assert titles(hub, repo) == before + 1


def test_what_is_no_fault_is_refused(hub: HubServer) -> None:
    with pytest.raises(RuntimeError, match="unexpected keyword argument 'chance'"):
        hub.faults.answer(500, chance=0.5)
    with pytest.raises(RuntimeError, match="KeyError"):
        hub.faults.remove(999)


def test_this_process_uploads_without_xet(hub: HubServer) -> None:
    assert constants.HF_HUB_DISABLE_XET
