"""Hub errors take one line, hold no secrets, and say whether waiting helps."""

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError

from codeparrot.config import HubConfig
from codeparrot.hub import client
from codeparrot.publishing.ledger import Ledger
from codeparrot.publishing.uploader import check
from tests.hub_server.fixture import HubServer


def answer(status: int, **headers: str) -> HfHubHTTPError:
    request = httpx2.Request("POST", "http://127.0.0.1/api")
    return HfHubHTTPError(f"{status}", response=httpx2.Response(status, headers=headers, request=request))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Bearer hf_abcDEF123 is bad", "Bearer *** is bad"),
        ("for https://me:hf_secret@host/me/model", "for https://***host/me/model"),
        ("PUT https://s3/x?X-Amz-Signature=abc&y=1 failed", "PUT https://s3/x*** failed"),
        ("first\n\nsecond", "first second"),
        ("what is mytoken-123 for", "what is *** for"),
    ],
)
def test_an_error_is_one_line_without_secrets(text: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "mytoken-123")
    assert client.reason(OSError(text)) == shown


def test_what_happened_to_a_file_is_told_by_its_cause() -> None:
    wrapped = RuntimeError("Error while uploading 'model.safetensors' to the Hub.")
    wrapped.__cause__ = answer(429, **{"Retry-After": "7"})
    assert (client.reason(wrapped), client.unreachable(wrapped), client.retry_after(wrapped)) == ("429", True, 7.0)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (httpx2.ConnectError("refused"), "unreachable"),
        (httpx2.ReadTimeout("slow"), "unreachable"),
        (answer(429), "unreachable"),
        (answer(503), "unreachable"),
        (answer(401), "denied"),
        (answer(403), "denied"),
        (answer(412), "moved"),
        (answer(400), ""),
        (ValueError("LFS batch API returned errors"), ""),
    ],
)
def test_what_may_help(error: Exception, state: str) -> None:
    found = {"unreachable": client.unreachable(error), "denied": client.denied(error), "moved": client.moved(error)}
    assert [name for name, holds in found.items() if holds] == ([state] if state else [])


def test_offline_by_the_environment_or_without_a_token(here: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    assert client.offline() == ""
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.delenv("HF_TOKEN")
    assert "hf auth login" in client.offline()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert client.offline() == "HF_HUB_OFFLINE is set"


@pytest.mark.slow
def test_the_start_tells_what_only_the_user_can_mend_from_what_time_will(here: HubServer, monkeypatch, tmp_path) -> None:
    ledger = Ledger(tmp_path)
    ledger.open(HubConfig(repo="me/checked", branch="run", timeout_seconds=2))
    assert check(ledger) == {}
    assert {branch.name for branch in here.api().list_repo_refs("me/checked").branches} == {"main", "run"}
    here.faults.answer(502, path="whoami")
    assert "502" in check(ledger)["unreachable"]
    here.faults.clear()
    here.faults.stall(None, path="whoami")
    assert check(ledger)["unreachable"]
    here.faults.clear()
    here.faults.refuse()
    assert check(ledger)["unreachable"]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert check(ledger) == {"offline": "HF_HUB_OFFLINE is set"}
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    here.faults.accept()
    monkeypatch.setenv("HF_TOKEN", here.read_token)
    ledger.open(HubConfig(repo="me/unwritable", branch="run"))
    assert "log in with a token that may write there" in check(ledger)["error"]
