"""Secrets planted in more than twenty languages: recall and precision; Python stays as it was."""

import random
import string
import sysconfig
import time
from pathlib import Path

import pytest

from codeparrot.corpus.secrets.redaction import redact
from codeparrot.corpus.secrets.stage import Secrets
from codeparrot.languages.detect import language_of
from codeparrot.languages.names import LANGUAGES
from tests.corpus.samples import STANDARD_LIBRARY
from tests.corpus.secrets.in_languages import EMAILS, FRIENDS, PASSWORDS
from tests.corpus.secrets.made_up import LOWER, WORD, draw, private_key

REDACT = Secrets().kinds
COPIES = 5
SUFFIXES = {suffix for each in LANGUAGES.values() if each.name != "python" for suffix in each.suffixes}
FALSE = [(language, line) for language, lines in FRIENDS.items() for line in lines]


def secret(dice: random.Random) -> str:
    return f"{draw(dice, string.ascii_letters, 6)}{dice.choice('0123456789')}{draw(dice, WORD, 14)}{dice.choice('0123456789')}k"


def planted(language: str) -> list[tuple[str, str]]:
    dice = random.Random(language)
    drawn = [(template, secret(dice)) for template in PASSWORDS[language] for _ in range(COPIES)]
    return [(f"first 1\n{template.format(value)}\nlast 2\n", value) for template, value in drawn]


@pytest.mark.parametrize("language", PASSWORDS)
def test_every_planted_password_of_a_language_is_taken_out(language: str) -> None:
    for content, value in planted(language):
        redacted, counts = redact(content, REDACT, language)
        assert redacted == content.replace(value, "REDACTED_1"), content
        assert sum(counts.values()) == 1
        assert redact(redacted, REDACT, language).counts == {}


@pytest.mark.parametrize(("language", "line"), FALSE)
def test_false_friends_of_a_language_are_kept(language: str, line: str) -> None:
    content = f"first 1\n{line.format()}\nlast 2\n"
    assert redact(content, REDACT, language) == (content, {})


def test_recall_and_precision_over_all_languages() -> None:
    cases = [(language, *each) for language in PASSWORDS for each in planted(language)]
    hits = sum(value not in redact(content, REDACT, language).content for language, content, value in cases)
    false = [line for language, line in FALSE if redact(line.format(), REDACT, language).counts]
    assert len(PASSWORDS.keys() & LANGUAGES.keys()) >= 20 and len(FALSE) >= 60
    assert hits == len(cases)
    assert hits / (hits + len(false)) >= 0.99, false


@pytest.mark.parametrize("language", EMAILS)
def test_an_address_in_a_comment_of_any_language_is_taken_out(language: str) -> None:
    dice = random.Random(language)
    for _ in range(COPIES):
        address = f"{draw(dice, string.ascii_lowercase, 6)}.doe@{draw(dice, LOWER, 8)}x.co.uk"
        content = EMAILS[language].replace("{}", "{0}").format(address)
        redacted, counts = redact(content, REDACT, language)
        assert redacted == content.replace(address, "email1@example.com") and counts == {"email": content.count(address)}


def test_an_escaped_address_stays_escaped() -> None:
    content = 'my $to = "jo.doe\\@host.org"; my $cc = \'Jo.Doe@host.org\'; my @list = ("$x\\@y");\n'
    redacted = redact(content, REDACT, "perl").content
    assert redacted == 'my $to = "email1\\@example.com"; my $cc = \'email1@example.com\'; my @list = ("$x\\@y");\n'
    assert redact(redacted, REDACT, "perl").counts == {}


@pytest.mark.parametrize("sign", ["//", "--", ";;", "%", "!", "'", "REM", "#", "*"])
def test_the_last_line_of_a_key_in_a_comment_goes_too(sign: str) -> None:
    lines = private_key(random.Random(sign)).splitlines()
    lines.insert(-1, "aB3=")
    redacted = redact("".join(f"{sign} {line}\n" for line in lines), REDACT, "c")
    assert not any(line in redacted.content for line in lines[1:-1])
    assert sum(redacted.counts.values()) == 1


def test_python_is_as_it_was_and_the_default() -> None:
    for template in ("pw = '{}'", "password <- '{}'", "x = [1]  # password={}", "#define PASSWORD '{}'"):
        content = template.format(secret(random.Random(1))) + "\n"
        assert redact(content, REDACT, "python") == redact(content, REDACT) == (content, {})


def test_a_name_that_is_part_of_a_word_gives_nothing_away() -> None:
    value = secret(random.Random(2))
    for name in ("compass", "passed", "bypass", "pwd_hash", "npw", "pws", "pass_count"):
        assert redact(f'{name} = "{value}"', REDACT, "java").counts == {}
    for name in ("pass", "dbPass", "db_pass", "DB_PASS", "my-pass", "pw", "userPw"):
        assert redact(f'{name} = "{value}"', REDACT, "java").counts == {"password": 1}, name


@pytest.mark.slow
def test_modules_of_python_have_the_same_findings_with_and_without_a_language() -> None:
    for file in sorted(STANDARD_LIBRARY.glob("*.py"))[:100]:
        content = file.read_bytes().decode("utf-8", "replace")
        assert redact(content, REDACT, "python") == redact(content, REDACT)


HOSTILE = [
    *(
        "password",
        'password="',
        "password:",
        "password=aaaaaaaa1#",
        "password=aaaaaaaa1 ",
        "pw",
        "pass=",
        "password>a</",
        "password a ",
    ),
    *(
        "password" + " " * 19,
        "a\\@",
        "jo\\@host.",
        "@",
        "\\",
        "password[",
        "password = String(",
        "token: a" * 3,
        "<password>",
        "pass" * 5,
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_takes_time_in_proportion_to_its_length(piece: str) -> None:
    def seconds(size: int) -> float:
        content = (piece * (size // len(piece) + 1))[:size]
        start = time.process_time()
        for language in ("yaml", "dockerfile", "perl"):
            redact(content, REDACT, language)
        return time.process_time() - start

    least = min(seconds(20_000) for _ in range(3))
    # Ten times the length: quadratic time would be a hundred times as long.
    assert min(seconds(200_000) for _ in range(3)) < 30 * max(least, 0.003)


@pytest.mark.slow
def test_ordinary_files_of_other_languages_give_hardly_more_than_the_rules_of_python_find() -> None:
    files = [file for file in sorted(Path(sysconfig.get_paths()["purelib"]).rglob("*")) if file.suffix in SUFFIXES][:2000]
    texts = [(file, file.read_bytes().decode("utf-8", "ignore")) for file in files if file.stat().st_size < 300_000]
    assert len(texts) > 200
    more = []
    for file, content in texts:
        found = redact(content, ("credentials",), language_of(str(file), content) or "unknown").counts
        known = redact(content, ("credentials",)).counts
        more += [file] * max(0, sum(found.values()) - sum(known.values()))
    assert len(more) <= len(texts) / 200, more
