"""The lines that a run leaves: one a step, whole, and nobody else's."""

import json
import logging
from pathlib import Path

import pytest

from codeparrot import files
from codeparrot.run.metrics import MetricsLog, begin_again, read_lines


def steps(path: Path) -> list[int]:
    return [line["step"] for line in read_lines(path)]


def test_a_resumed_run_has_one_line_a_step_and_drops_a_line_that_was_cut(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, 0)
    for step in range(1, 8):
        log.append({"step": step})
    path.write_bytes(path.read_bytes() + b'{"step": 8, "lo')
    resumed = MetricsLog(path, 5)
    assert steps(path) == [1, 2, 3, 4, 5]
    resumed.append({"step": 6})
    assert steps(path) == [1, 2, 3, 4, 5, 6]


def test_a_run_that_begins_again_at_the_start_has_one_line_for_step_0(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    for _ in range(2):
        log = MetricsLog(path, 0)
        log.append({"step": 0})
    assert steps(path) == [0]


def test_what_was_measured_before_a_run_begins_again_is_kept_and_said(tmp_path, caplog) -> None:
    path = tmp_path / "metrics.jsonl"
    logging.getLogger("codeparrot").propagate = True
    begin_again(path)
    path.write_text('{"step": 0, "tokens": 0}\n', encoding="utf-8")
    begin_again(path)
    assert not caplog.messages and path.exists()
    path.write_text('{"step": 0, "tokens": 0}\n{"step": 7, "tokens": 70}\nnot ours\n', encoding="utf-8")
    content = path.read_bytes()
    begin_again(path)
    assert not path.exists() and (tmp_path / "metrics.jsonl.before").read_bytes() == content
    assert "step 7 was reached" in caplog.text and "metrics.jsonl.before" in caplog.text


def test_lines_that_do_not_fit_the_disk_are_written_later_whole(tmp_path, monkeypatch, caplog) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, 0)
    log.append({"step": 1})
    logging.getLogger("codeparrot").propagate = True

    def full(path: Path, lines: bytes) -> None:
        raise OSError(28, "No space left on device")

    whole = files.append
    monkeypatch.setattr(files, "append", full)
    with caplog.at_level(logging.WARNING, logger="codeparrot"):
        log.append({"step": 2})
        log.append({"step": 3})
    assert caplog.text.count("No space left") == 1
    assert steps(path) == [1]
    monkeypatch.setattr(files, "append", whole)
    log.append({"step": 4})
    assert steps(path) == [1, 2, 3, 4]


def test_a_full_device_is_reported_and_survived() -> None:
    """/dev/full fails every write as a full disk does."""
    log = MetricsLog.__new__(MetricsLog)
    log._path, log._pending, log._warned = Path("/dev/full"), [], False
    log.append({"step": 1})
    assert [json.loads(line) for line in log._pending] == [{"step": 1}]


@pytest.mark.parametrize("text", ["", '{"step": 1}', '{"step": 1}\n{"st'])
def test_a_cut_file_is_read_as_far_as_it_is_whole(tmp_path, text) -> None:
    (tmp_path / "m.jsonl").write_text(text, encoding="utf-8")
    assert steps(tmp_path / "m.jsonl") == ([1] if text.count("\n") else [])


FOREIGN = [
    *(
        b"\0" * 100,
        b"",
        b"  ",
        b"[1]",
        b"null",
        b'"text"',
        b"{",
        b'{"step": "5", "loss": 1.0}',
        b'{"step": true}',
        b'{"note": "mine"}',
    ),
    *(
        b'{"step": 5, "tokens": "many"}',
        b'{"step": 5, "loss": [1]}',
        b'{"step": 5, "perplexity": {}}',
        b"\xff\xfe\x80",
        b"[" * 100_000,
    ),
    *(b"9" * 5000, b"step 5/10 | loss 4.2"),
    *(f'{{"step": 5, {value}}}'.encode() for value in ('"perplexity": 0', '"perplexity": -1e9', '"tokens": -1')),
    *(f'{{"step": 5, {value}}}'.encode() for value in ('"tokens": 1e400', f'"tokens": {"9" * 400}', f'"loss": {"9" * 400}')),
    b'{"step": -5}',
]
"""Lines that no run wrote."""


def test_lines_that_no_run_wrote_are_passed_over_and_counted_once(tmp_path, caplog) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = [{"step": step, "tokens": 8 * step, "loss": None if step == 2 else 1 / step} for step in range(1, 5)]
    whole = [json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join([whole[0], *FOREIGN[:9], whole[1], *FOREIGN[9:], *whole[2:], b'{"step": 5, "lo']))
    assert read_lines(path) == rows
    (warning,) = caplog.messages
    assert (
        f"{path}: passed over {len(FOREIGN)} lines that are damaged, blank or foreign" in warning
        and "the first is line 2" in warning
    )


def test_a_resumed_run_moves_lines_that_no_run_wrote_out_of_the_way(tmp_path, caplog) -> None:
    path = tmp_path / "metrics.jsonl"
    kept = b'{"step": 1, "loss": 0.10}\n'
    path.write_bytes(kept + b"\n".join(FOREIGN) + b'\n{"step": 3}\n{"step": 2}\n{"st')
    MetricsLog(path, 2).append({"step": 3, "loss": 1.0})
    assert path.read_bytes() == kept + b'{"step": 2}\n{"step": 3, "loss": 1.0}\n'
    assert (tmp_path / "metrics.jsonl.damaged").read_bytes() == b"\n".join(FOREIGN) + b"\n"
    (warning,) = caplog.messages
    assert "passed over" in warning and "they are in metrics.jsonl.damaged now" in warning
    caplog.clear()
    MetricsLog(path, 3)
    assert caplog.messages == []


def test_a_log_that_cannot_be_read_or_tidied_ends_no_run(tmp_path, monkeypatch, caplog) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    MetricsLog(tmp_path / "folder.jsonl", 3).append({"step": 4})
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n')

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "new_file", full)
        log = MetricsLog(path, 1)
        log.append({"step": 2, "loss": 1.0})
    assert steps(path) == [1, 2]
    log.append({"step": 3})
    assert [(line["step"], line.get("loss")) for line in read_lines(path)] == [(1, None), (2, 1.0), (3, None)]
    assert len([text for text in caplog.messages if "cannot" in text and "folder.jsonl" in text]) == 2
    assert len([text for text in caplog.messages if "No space left" in text]) == 1
