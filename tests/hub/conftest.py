"""The client of this process, talking to the Hub of the tests."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from tests.hub_server.fixture import HubServer


@pytest.fixture
def here(hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """The Hub, for code that runs in this process; all of its faults are switched off behind the test."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    template = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", hub.url + template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("HF_TOKEN", hub.token)
    # The client's own retries, a second and more apart, come at once.
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda seconds: None))
    hub.forget_requests()
    yield hub
    hub.faults.clear()
    set_client_factory(default_client_factory)
