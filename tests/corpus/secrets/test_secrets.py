"""Planted secrets of many kinds, and text that only looks like one: recall, precision, and programs stay programs."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.corpus.filters.syntax import is_python
from codeparrot.corpus.secrets.addresses import NAME_SERVERS
from codeparrot.corpus.secrets.redaction import redact
from codeparrot.corpus.secrets.stage import Secrets
from codeparrot.errors import CodeparrotError
from tests.corpus.samples import STANDARD_LIBRARY
from tests.corpus.secrets.made_up import COPIES, FRIENDS, SECRETS, WORD, draw, planted, program

REDACT = Secrets().kinds


@pytest.mark.parametrize("kind", SECRETS)
def test_every_planted_secret_of_its_kind_is_taken_out(kind: str) -> None:
    for content, secret in planted(kind):
        redacted, counts = redact(content, REDACT)
        assert secret not in redacted
        assert not any(line in redacted for line in secret.splitlines()[1:-1])
        assert sum(counts.values()) == 1, counts
        assert kind.split(" ")[0] in next(iter(counts)) or "slack" in kind, counts
        assert is_python(redacted) and is_python(content)
        assert redacted.startswith("import os\n") and redacted.endswith("\nlast = 1\n")


def test_recall_and_precision_over_all_kinds() -> None:
    contents = [content for kind in SECRETS for content, _ in planted(kind)]
    hits = sum(bool(redact(content, REDACT).counts) for content in contents)
    false = [line for line in FRIENDS if redact(program(line), REDACT).counts]
    assert len({kind.split(" ")[0] for kind in SECRETS}) >= 25
    assert hits == len(contents)
    assert hits / (hits + COPIES * len(false)) >= 0.99, false


@pytest.mark.parametrize("line", FRIENDS)
def test_false_friends_are_kept(line: str) -> None:
    assert redact(program(line), REDACT) == (program(line), {})


def test_secrets_of_all_kinds_have_placeholders_of_their_own() -> None:
    secrets = [
        SECRETS[kind](random.Random(number))[1] for number, kind in enumerate(("github_token", "gitlab_token", "npm_token"))
    ]
    redacted = redact(" ".join([*secrets, *secrets]), REDACT)
    assert redacted.content == "REDACTED_1 REDACTED_2 REDACTED_3 REDACTED_1 REDACTED_2 REDACTED_3"
    assert redacted.counts == {"github_token": 2, "gitlab_token": 2, "npm_token": 2}


def test_the_same_secret_has_the_same_placeholder_and_another_one_another() -> None:
    content = "to = 'jo@host.org', 'Al@host.org', 'JO@host.org'\nhosts = '80.1.2.3', '80.1.2.4', '80.1.2.3'\n"
    assert redact(content, REDACT).content == (
        "to = 'email1@example.com', 'email2@example.com', 'email1@example.com'\nhosts = '192.0.2.1', '192.0.2.2', '192.0.2.1'\n"
    )


def test_thousands_of_addresses_have_as_many_placeholders() -> None:
    addresses = [f"80.{first}.{second}.7" for first in range(40) for second in range(100, 150)]
    redacted = redact(str(addresses), REDACT)
    assert redacted.counts == {"ipv4": 2000}
    assert len(set(redacted.content.split(", "))) == 2000
    assert redact(redacted.content, REDACT).counts == {}


@pytest.mark.parametrize(
    ("before", "name"),
    [
        ("import hashlib\n", "password = "),
        ('connect(host="h", autocommit=True, ', "password="),
        ("session.commit()\n", "API_TOKEN = "),
        ("# see commit 1234\n", "API_TOKEN = "),
        ("digest = None; ", "self.api_key = "),
    ],
)
def test_what_stands_before_the_name_of_a_secret_makes_it_no_hash(before: str, name: str) -> None:
    content = before + name + '"q8Zk29vQ8xTqLm41PdRw"\n'
    assert redact(content, REDACT).content == before + name + '"REDACTED_1"\n'


@pytest.mark.parametrize("host", ["host.co.uk", "mail.host.dev", "HOST.COM", "host.Org", "host.museum", "self-made.io"])
def test_addresses_are_at_the_top_levels_that_people_have_mail_at(host: str) -> None:
    assert redact(f"to = 'jo@{host}'\n", REDACT).content == "to = 'email1@example.com'\n"


def test_an_escape_sequence_before_a_secret_stays_whole() -> None:
    content = r"mail = 'By:\njo@host.org\x41al@host.org \\ed@host.org'" + "\n"
    expected = r"mail = 'By:\nemail1@example.com\x41email2@example.com \\email3@example.com'" + "\n"
    assert redact(content, REDACT).content == expected


def test_secrets_are_found_beside_letters_that_grow_in_lower_case() -> None:
    dice = random.Random(0)
    key, password = "hf_" + draw(dice, WORD, 34), "pA5!" + draw(dice, WORD, 8)
    content = "x = 'İİİİİİİİ'\nlogin('{}')\npassword = '{}'\n"
    expected = content.format("REDACTED_1", "REDACTED_2"), {"hugging_face_token": 1, "password": 1}
    assert redact(content.format(key, password), REDACT) == expected


@settings(max_examples=300)
@given(st.data())
def test_programs_stay_programs_and_are_not_redacted_twice(data: st.DataObject) -> None:
    dice = random.Random(data.draw(st.integers(0, 10**6)))
    kinds = data.draw(st.lists(st.sampled_from([*SECRETS]), min_size=1, max_size=4))
    secrets = [SECRETS[kind](dice)[1] for kind in kinds]
    pieces = st.text("abc \\n\\x41:/@=._'\"-", max_size=6)
    between = data.draw(st.lists(pieces, min_size=len(secrets), max_size=len(secrets)))
    text = "".join(f" {before} {secret}" for before, secret in zip(between, secrets, strict=True))
    quote = data.draw(st.sampled_from(["'", '"', '"""', "'''"]))
    content = f"x = {data.draw(st.sampled_from(['', 'r', 'b', 'f']))}{quote}{text}{quote}  # {text}\n"
    redacted = redact(content, REDACT).content
    if is_python(content):
        assert is_python(redacted)
    assert redact(redacted, REDACT) == (redacted, {})


def test_the_standard_library_stays_a_library_and_loses_addresses_only() -> None:
    files = sorted(STANDARD_LIBRARY.glob("*.py"))
    assert len(files) > 100
    for file in files:
        content = file.read_text(encoding="utf-8")
        redacted, counts = redact(content, REDACT)
        assert set(counts) <= {"email", "ipv4", "ipv6"}, file
        assert is_python(redacted), file
        assert redact(redacted, REDACT).counts == {}, file


def test_only_the_kinds_that_are_asked_for_are_looked_for() -> None:
    content = "x = 'jo@host.org 80.1.2.3'\n"
    assert redact(content, ["emails"]).counts == {"email": 1}
    assert redact(content, ["ip_addresses"]).counts == {"ipv4": 1}
    assert redact(content, []) == (content, {})
    assert Secrets(mode="drop").clean(content)[:3] == (None, "email, ipv4", {"email": 1, "ipv4": 1})


@pytest.mark.parametrize(
    "piece",
    [
        *("a@b.", "1.", "80.1.2.3.", "password='", "-----BEGIN PRIVATE KEY-----\nA1b", "://a:", "aws key", "2a00:", "eyJ", "@"),
        *(
            "é@b.",
            "o'b@b.",
            "&eacute;@b.",
            "用户@例",
            "-eyJ",
            "eyJaaaaaaaaaaaa.",
            "eyJaaaaaaaaaaaa.b' + '",
            "ghp_" + "a1b2" * 9,
        ),
    ],
)
def test_hostile_text_takes_time_in_proportion_to_its_length(piece: str) -> None:
    start = time.process_time()
    redact(piece * (2**18 // len(piece)), REDACT)
    assert time.process_time() - start < 10


@pytest.mark.parametrize("settings", [{"mode": "redakt"}, {"kinds": ("phone",)}])
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(CodeparrotError, match="secrets"):
        Secrets(**settings).check()  # pyright: ignore[reportArgumentType]


def test_every_name_server_is_public() -> None:
    assert all(address.is_global for address in NAME_SERVERS)
