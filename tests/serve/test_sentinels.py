"""Prompts with sentinels of every dialect say what the client was given, and other prompts are text."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.serve.sentinels import Parts, parts_of

MARKS = "<｜fim▁begin｜> <｜fim▁hole｜> <｜fim▁end｜>".split()
RENDERED: dict[str, Callable[[str, str], str]] = {
    "starcoder": lambda p, s: f"<fim_prefix>{p}<fim_suffix>{s}<fim_middle>",
    "starcoder, suffix first": lambda p, s: f"<fim_prefix><fim_suffix>{s}<fim_middle>{p}",
    "santacoder": lambda p, s: f"<fim-prefix>{p}<fim-suffix>{s}<fim-middle>",
    "qwen": lambda p, s: f"<|fim_prefix|>{p}<|fim_suffix|>{s}<|fim_middle|>",
    "qwen, suffix first": lambda p, s: f"<|fim_suffix|>{s}<|fim_prefix|>{p}<|fim_middle|>",
    "deepseek": lambda p, s: f"{MARKS[0]}{p}{MARKS[1]}{s}{MARKS[2]}",
    "codellama": lambda p, s: f"<PRE> {p} <SUF>{s} <MID>",
    "codellama, suffix first": lambda p, s: f"<PRE> <SUF>{s} <MID> {p}",
    "codestral": lambda p, s: f"[SUFFIX]{s}[PREFIX]{p}",
    "codegeex": lambda p, s: f"<|code_suffix|>{s}<|code_prefix|>{p}<|code_middle|>",
    "tabby": lambda p, s: f"{p}<|FIM|>{s}",
}
CODE = st.text(alphabet=st.sampled_from("ab(): \n\t'é=."), max_size=40)


@pytest.mark.parametrize("dialect", RENDERED)
@given(prefix=CODE, suffix=CODE)
def test_the_parts_of_a_rendered_prompt_are_the_texts_it_was_made_of(dialect: str, prefix: str, suffix: str) -> None:
    if dialect.startswith("codellama") and suffix.startswith((" \n", " \r")):
        suffix = suffix[1:]
    assert parts_of(RENDERED[dialect](prefix, suffix)) == Parts(prefix, suffix)


@pytest.mark.parametrize("space", ["", " "])
def test_a_space_before_the_end_of_a_line_is_no_part_of_a_codellama_suffix(space: str) -> None:
    assert parts_of(f"<PRE> def f(): <SUF>{space}\n    pass <MID>") == Parts("def f():", "\n    pass")


def test_what_is_behind_the_middles_mark_is_written_already() -> None:
    assert parts_of("<fim_prefix>a = <fim_suffix>\nb<fim_middle>1 +") == Parts("a = 1 +", "\nb")


@pytest.mark.parametrize("file", ["<file_sep>", "<|file_sep|>", "<|file_separator|>"])
@pytest.mark.parametrize("repository", ["", "<repo_name>shop\n", "<|repo_name|>shop\n", "<reponame>shop\n"])
def test_files_in_front_are_other_files_without_their_names(file: str, repository: str) -> None:
    head = f"{repository}{file}lib/a.py\nA = 1\n{file}b.py\nB = 2\n{file}main.py\n"
    filled = parts_of(f"{head}<fim_prefix>import a\n<fim_suffix>\n<fim_middle>")
    assert filled == Parts("import a\n", "\n", ("A = 1\n", "B = 2\n"))
    # Without a suffix, twinny writes no sentinels but those of the files.
    assert parts_of(f"{head}import a\n") == Parts("import a\n", None, ("A = 1\n", "B = 2\n"))


def test_files_without_names_are_kept_whole() -> None:
    prompt = "<file_sep>x = 1\ny = 2<file_sep>z = 3<file_sep><fim_prefix>p<fim_suffix>s<fim_middle>"
    assert parts_of(prompt) == Parts("p", "s", ("x = 1\ny = 2", "z = 3"))


def test_the_last_file_in_front_of_a_prefix_is_another_one_where_the_current_one_has_no_mark() -> None:
    prompt = "<|file_sep|>/home/me/a.py\nA = 1\n<|fim_prefix|>p<|fim_suffix|>s<|fim_middle|>"
    assert parts_of(prompt) == Parts("p", "s", ("A = 1\n",))


def test_text_in_front_of_the_sentinels_goes_on_in_the_prefix() -> None:
    prompt = "Context:\n\nx = 1\n<|fim_prefix|>y = <|fim_suffix|>\n<|fim_middle|>"
    assert parts_of(prompt) == Parts("Context:\n\nx = 1\ny = ", "\n")


@given(CODE)
def test_text_without_sentinels_is_one_text(text: str) -> None:
    assert parts_of(text) == Parts(text)


@pytest.mark.parametrize(
    "text",
    [
        "# <fim_prefix> a <fim_suffix> b <fim_middle> c: the order of the parts",
        'PREFIX, MIDDLE, SUFFIX = "<fim_prefix>", "<fim_middle>", "<fim_suffix>"',
        "usage: tool [PREFIX] [SUFFIX]",
        "usage: tool [SUFFIX] [PREFIX]",
        "a <|FIM|> b <|FIM|>",
        "read <file_sep> here",
        "<fim_prefix>def f():",
        "<fim_prefix>a<fim_suffix>b",
    ],
)
def test_code_about_sentinels_is_text(text: str) -> None:
    assert parts_of(text) == Parts(text)


@given(
    st.lists(st.sampled_from([*MARKS, "<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<PRE>", "<file_sep>", "a", "[SUFFIX]"]))
)
def test_any_mixture_of_sentinels_is_read(pieces: list[str]) -> None:
    assert isinstance(parts_of("".join(pieces)).prefix, str)


@pytest.mark.parametrize(
    "rest", ["<fim_prefix>", "<file_sep>", "<fim_prefix><fim_suffix>", "<|FIM|>", "[SUFFIX]", "<file_sep>a.b/", "a.", "a"]
)
def test_time_grows_with_the_length_alone(rest: str) -> None:
    def seconds(count: int) -> float:
        prompt = "<file_sep>" + rest * count + " ="
        start = time.process_time()
        parts_of(prompt)
        return time.process_time() - start

    # Quadratic time would be 64 times as much; the floor is the clock's grain.
    assert min(seconds(80_000) for _ in range(3)) < 30 * max(0.01, min(seconds(10_000) for _ in range(3)))
