"""The page's files are sent as they are, under a policy that lets nothing else in; no other file is."""

import re

import pytest

from codeparrot.serve.page import PAGE, SCRIPT, SEARCH
from tests.serve.conftest import Served, serving


def test_the_page_is_one_file_and_its_scripts(served: Served) -> None:
    page, script, search = (served.client.get(path) for path in ("/", "/page.js", "/search.js"))
    assert (page.content, page.headers["content-type"]) == (PAGE, "text/html; charset=utf-8")
    assert (script.content, script.headers["content-type"]) == (SCRIPT, "text/javascript; charset=utf-8")
    assert (search.content, search.headers["content-type"]) == (SEARCH, "text/javascript; charset=utf-8")
    assert search.headers["content-security-policy"] == page.headers["content-security-policy"]
    assert served.client.head("/").status_code == 200
    sources = re.findall(rb"""(?:src|href|url)\s*[=(]\s*["']?([^"'\s>)]+)""", PAGE)
    assert sources == [b"data:,", b"page.js"]


def test_the_policy_allows_the_pages_own_parts_only(served: Served) -> None:
    policy = dict(part.split(" ", 1) for part in served.client.get("/").headers["content-security-policy"].split("; "))
    style = policy.pop("style-src")
    assert re.fullmatch(r"'sha256-[\w+/]+='", style)
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert served.client.get("/").headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/index.html", "/page/page.js", "/page/search.js", "/../page.py", "/%2e%2e/page.py", "/page.js/", "//etc/passwd"]
)
def test_no_other_path_is_a_file(served: Served, path: str) -> None:
    assert served.client.get(path).status_code == 404


@pytest.mark.parametrize("script", [SCRIPT, SEARCH])
def test_the_scripts_make_no_markup_and_no_code_of_text(script: bytes) -> None:
    makers = rb"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc"
    assert re.findall(makers + rb"|localStorage|sessionStorage|cookie", script) == []


def test_facts_tell_what_the_page_shows(served: Served) -> None:
    facts = served.client.get("/facts").json()
    assert facts["name"] == "tiny" and facts["context"] == 256
    assert facts["can_fill"] == served.service.can_fill and facts["why_not"] == served.service.why_not
    assert facts["parameters"] == sum(each.numel() for each in served.service.model.parameters())
    assert {"run", "step", "tokens", "vocabulary", "curve", "most_samples", "most_tokens"} <= facts.keys()


def test_facts_need_the_key_and_the_page_does_not(model_folder: str) -> None:
    for locked in serving(model_folder, key="a-key-of-sixteen"):
        paths = ("/", "/page.js", "/search.js", "/facts")
        assert [locked.client.get(path).status_code for path in paths] == [200, 200, 200, 401]


def test_facts_wait_for_the_model_and_the_page_does_not(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.service, "state", "loading")
    assert [served.client.get(path).status_code for path in ("/", "/page.js", "/facts")] == [200, 200, 503]


def test_a_text_that_fills_the_context_is_scored_whole(served: Served) -> None:
    ids = served.service.tokenizer("x = 1\n" * 200)["input_ids"][: served.service.context]
    text = served.service.tokenizer.decode(ids)
    body = {"prompt": text, "echo": True, "max_tokens": 0, "logprobs": 5}
    (choice,) = served.post("/v1/completions", **body)["choices"]
    assert len(choice["logprobs"]["tokens"]) == served.service.context and choice["text"] == text
    assert "".join(choice["logprobs"]["tokens"]) == text
    assert served.refused(400, "/v1/completions", **body | {"prompt": text + "x = 1"})["code"] == "context_length_exceeded"
