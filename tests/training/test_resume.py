"""What is settled before the parts of a run are made."""

import logging

import pytest

from codeparrot.arguments import parse_config
from codeparrot.stream.shuffle import default_block_windows
from codeparrot.training.resume import settled

NEEDED = ["--tokenizer.path", "t", "--stream.train", "c"]


@pytest.mark.parametrize(
    ("arguments", "order", "unused"),
    [
        (["--stream.block_documents", "9"], "windows", "block_documents"),
        (["--stream.order", "documents", "--stream.block_windows", "9"], "documents", "block_windows"),
        (["--stream.order", "documents", "--stream.block_documents", "9"], "documents", ""),
        (["--stream.block_windows", "9"], "windows", ""),
    ],
)
def test_a_size_of_the_other_order_is_named(
    arguments: list[str], order: str, unused: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        stream = settled(parse_config([*NEEDED, *arguments]), None).stream
    assert stream.order == order
    assert caplog.messages == ([f"stream.{unused} does nothing with stream.order {order}"] if unused else [])


def test_the_size_of_a_block_is_written_into_the_configuration() -> None:
    stream = parse_config(NEEDED).stream
    assert settled(parse_config(NEEDED), None).stream.block_windows == default_block_windows(stream) > 0
