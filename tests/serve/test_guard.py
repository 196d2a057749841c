"""Only those who may talk to the server reach it."""

from collections.abc import Iterator

import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.serve.command import KEY, read_key, serve
from codeparrot.serve.fields import Refused
from codeparrot.serve.guard import Guard, is_everywhere, is_local
from tests.serve.conftest import Served, serving

KEY_VALUE = "a-long-secret"


@pytest.fixture(scope="module")
def locked(model_folder: str) -> Iterator[Served]:
    """A server that demands a key."""
    yield from serving(model_folder, key=KEY_VALUE)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8012", "127.0.0.1.evil.example", "", "a b", "localhost@evil", "[::2]"]
)
def test_a_host_that_is_not_the_servers_is_refused(served: Served, host: str) -> None:
    answer = served.client.get("/v1/models", headers={"Host": host})
    assert answer.status_code in (400, 403), "DNS rebinding sends the name of the other site"


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:1", "127.0.0.1:8012", "[::1]:8012", "[0:0::1]", "LOCALHOST", "localhost."]
)
def test_this_machines_names_are_let_in(served: Served, host: str) -> None:
    assert served.client.get("/v1/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example", "file://", "http://127.0.0.1@evil"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_page_of_another_site_is_refused(served: Served, origin: str, method: str) -> None:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    answer = served.client.request(method, "/v1/completions", headers=headers)
    assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers


def test_an_address_is_known_however_it_is_written() -> None:
    guard = Guard(None, "2001:DB8:0::1")
    for host in ("[2001:db8::1]:8012", "[2001:DB8:0:0::1]"):
        assert guard._check("GET", "/", {"host": host}) == []
    with pytest.raises(Refused, match="this Host is none"):
        guard._check("GET", "/", {"host": "[2001:db8::2]"})


def test_a_page_of_this_machine_may_use_it(served: Served) -> None:
    origin = {"Origin": "http://localhost:3000"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    preflight = served.client.options("/v1/completions", headers={**origin, **asked})
    assert preflight.status_code == 204 and "POST" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-allow-headers"] == "content-type"
    answer = served.client.post("/v1/completions", json={"prompt": "a", "max_tokens": 1}, headers=origin)
    assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == origin["Origin"]


def test_without_the_key_nothing_but_health_is_answered(locked: Served, caplog: pytest.LogCaptureFixture) -> None:
    body = {"prompt": "a", "max_tokens": 1}
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY_VALUE}, {b"X-Api-Key": b"\xe9"}):
        answer = locked.client.post("/v1/completions", json=body, headers=headers)
        assert answer.status_code == 401 and answer.json()["error"]["code"] == "invalid_api_key"
        assert locked.client.get("/metrics", headers=headers).status_code == 401
    assert locked.client.get("/health").status_code == 200
    for headers in ({"Authorization": f"Bearer {KEY_VALUE}"}, {"X-Api-Key": KEY_VALUE}):
        assert locked.client.post("/v1/completions", json=body, headers=headers).status_code == 200
    assert KEY_VALUE not in caplog.text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org"])
def test_another_host_demands_a_key(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    with pytest.raises(CodeparrotError, match=f"--host {host} lets other machines in.*{KEY}"):
        serve("nowhere", host=host)


@pytest.mark.parametrize(
    ("host", "local"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("", False)]
)
def test_which_hosts_are_this_machines_alone(host: str, local: bool) -> None:
    assert is_local(host) is local and is_everywhere(host) is not local


def test_the_key_comes_from_option_file_or_environment(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "of-environment")
    (tmp_path / "key").write_text("of-file\n", encoding="utf-8")
    assert read_key(None, None) == "of-environment"
    assert read_key(None, str(tmp_path / "key")) == "of-file"
    assert read_key("of-option", str(tmp_path / "key")) == "of-option"
    monkeypatch.delenv(KEY)
    assert read_key(None, None) is None
    (tmp_path / "key").write_text("\n", encoding="utf-8")
    with pytest.raises(CodeparrotError, match="the API key must be"):
        read_key(None, str(tmp_path / "key"))
