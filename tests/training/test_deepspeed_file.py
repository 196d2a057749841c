"""The DeepSpeed file is read as every text file of a user, and nothing in it is dropped."""

import json
from pathlib import Path
from typing import Any

import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.training.deepspeed import deepspeed_file

ZERO2: dict[str, Any] = {"zero_optimization": {"stage": 2}, "comment": "é𝒳"}


def read(monkeypatch: pytest.MonkeyPatch, place: Path, content: bytes) -> Any:
    place.write_bytes(content)
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", str(place))
    return deepspeed_file()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("escaped", [True, False])
def test_it_is_read_in_every_encoding_that_says_which_it_is(tmp_path, monkeypatch, encoding, escaped) -> None:
    content = json.dumps(ZERO2, indent="\t", ensure_ascii=escaped).encode(encoding)
    settings = read(monkeypatch, tmp_path / "zero2.json", content).deepspeed_config
    assert settings["zero_optimization"]["stage"] == 2 and settings["comment"] == "é𝒳"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{"zero_optimization": {"stage": 2},\n\t"zero_optimization": {}}',
            r'"zero_optimization" stands twice .* 1 and 2',
        ),
        (b'{"zero_optimization": {"stage": 2,\n "stage": 1}}', r'"stage" stands twice in .*zero2\.json, in lines 1 and 2'),
        (b'{"zero_optimization": {"stage": 2}, "x": "\xe9"}', r"zero2\.json is not UTF-8: byte 42 is 0xe9"),
        (b"zero_optimization: 2", r"zero2\.json is not JSON"),
        (b"{}", 'has no "zero_optimization"'),
        (b"[]", 'has no "zero_optimization"'),
    ],
)
def test_what_would_be_misread_is_refused(tmp_path, monkeypatch, content: bytes, message: str) -> None:
    with pytest.raises(CodeparrotError, match=message):
        read(monkeypatch, tmp_path / "zero2.json", content)


def test_without_deepspeed_there_is_none(monkeypatch) -> None:
    monkeypatch.delenv("ACCELERATE_USE_DEEPSPEED", raising=False)
    assert deepspeed_file() is None
