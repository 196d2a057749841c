"""Planted secrets of many kinds, and what only looks like one: recall, precision, and that programs stay programs."""

import random
import string
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.corpus.filters.syntax import is_python
from codeparrot.corpus.secrets.addresses import NAME_SERVERS
from codeparrot.corpus.secrets.credentials import credentials
from codeparrot.corpus.secrets.redaction import Settings, redact
from codeparrot.errors import CodeparrotError
from tests.corpus.samples import STANDARD_LIBRARY

REDACT = Settings()
HEX = "0123456789abcdef"
LOWER = string.ascii_lowercase + string.digits
UPPER = string.ascii_uppercase + string.digits
WORD = string.ascii_letters + string.digits
BASE64 = WORD + "+/"


def draw(dice: random.Random, alphabet: str, length: int) -> str:
    return "".join(dice.choices(alphabet, k=length))


def private_key(dice: random.Random, kind: str = "RSA ") -> str:
    lines = [draw(dice, BASE64, 64) for _ in range(12)] + [draw(dice, BASE64, 30) + "=="]
    # In pieces, so that nothing takes this file for one that holds a key.
    return "\n".join([f"-----BEGIN {kind}PRIVATE" + " KEY-----", *lines, f"-----END {kind}PRIVATE" + " KEY-----"])


# What each kind of secret looks like in a program: the text of the program, and the secret in it. Made up from dice.
SECRETS: dict[str, Callable[[random.Random], tuple[str, str]]] = {
    "aws_access_key": lambda dice: ("key_id = '{}'", "AKIA" + draw(dice, UPPER, 16)),
    "aws_access_key by its name": lambda dice: ("aws_secret_access_key = '{}'", draw(dice, BASE64, 40)),
    "azure_storage_account_access_key": lambda dice: (
        "connect('DefaultEndpointsProtocol=https;AccountName=me;{}')",
        "AccountKey=" + draw(dice, BASE64, 86) + "==",
    ),
    "bearer_token": lambda dice: ("headers = {{'Authorization': 'Bearer {}'}}", draw(dice, WORD, 30) + "3f"),
    "github_token": lambda dice: ("headers = {{'Authorization': 'token {}'}}", "ghp_" + draw(dice, WORD, 36)),
    "github_fine_grained_token": lambda dice: (
        "github = Github('{}')",
        "github_pat_" + draw(dice, WORD, 22) + "_" + draw(dice, WORD, 59),
    ),
    "gitlab_token": lambda dice: ("gl = Gitlab(url, '{}')", "glpat-" + draw(dice, WORD, 20)),
    "slack_token": lambda dice: (
        "client = WebClient('{}')",
        "xoxb-" + draw(dice, string.digits, 12) + "-" + draw(dice, WORD, 24),
    ),
    "slack webhook": lambda dice: (
        "post('{}')",
        "https://hooks.slack.com/services/T" + draw(dice, UPPER, 8) + "/B" + draw(dice, UPPER, 8) + "/" + draw(dice, WORD, 24),
    ),
    "stripe_access_key": lambda dice: ("stripe.api_key = '{}'", "sk_" + "live_" + draw(dice, WORD, 24)),
    "sendgrid_api_key": lambda dice: ("mail = Client('{}')", "SG." + draw(dice, WORD, 22) + "." + draw(dice, WORD, 43)),
    "twilio_api_key": lambda dice: ("twilio = Client('{}')", "SK" + draw(dice, HEX, 32)),
    "mailchimp_access_key": lambda dice: ("mailchimp('{}')", draw(dice, HEX, 32) + "-us" + draw(dice, "123456789", 1)),
    "npm_token": lambda dice: ("registry = '//registry.example/:_authToken={}'", "npm_" + draw(dice, WORD, 36)),
    "pypi_token": lambda dice: ("upload('{}')", "pypi-AgEIcHlwaS5vcmc" + draw(dice, WORD, 80)),
    "openai_token": lambda dice: ("openai.key = '{}'", "sk-" + draw(dice, WORD, 20) + "T3Blbk" + "FJ" + draw(dice, WORD, 20)),
    "anthropic_key": lambda dice: ("client = Client('{}')", "sk-" + "ant-api03-" + draw(dice, WORD, 80)),
    "hugging_face_token": lambda dice: ("login('{}')", "hf_" + draw(dice, string.ascii_letters, 34)),
    "google_api_key": lambda dice: ("maps = Maps(key='{}')", "AIza" + draw(dice, WORD, 35)),
    "square_oauth_secret": lambda dice: ("square('{}')", "sq0csp-" + draw(dice, WORD, 43)),
    "telegram_bot_token": lambda dice: ("bot = Bot('{}')", draw(dice, "123456789", 9) + ":AA" + draw(dice, WORD, 33)),
    "discord_bot_token": lambda dice: (
        "client.run('{}')",
        "M" + draw(dice, WORD, 24) + "." + draw(dice, WORD, 6) + "." + draw(dice, WORD, 27),
    ),
    "json_web_token": lambda dice: (
        "jwt = '{}'",
        "eyJ" + draw(dice, WORD, 33) + "." + draw(dice, WORD, 60) + "." + draw(dice, WORD, 43),
    ),
    "basic_auth_credentials": lambda dice: ("url = 'https://me:{}@host.org/path'", draw(dice, WORD, 12) + "9x"),
    "password": lambda dice: (
        "DATABASE = {{'PASSWORD': '{}'}}",
        draw(dice, string.ascii_letters, 5) + "#" + draw(dice, WORD, 5) + "7q",
    ),
    "password of an argument": lambda dice: ("connect(host, password='{}')", "pA5!" + draw(dice, WORD, 8)),
    "secret_string": lambda dice: ("API_KEY: str = '{}'", draw(dice, WORD, 30) + "a1"),
    "secret_string in hex": lambda dice: ("client.token = '{}'", draw(dice, HEX, 40)),
    "secret_string of a dictionary": lambda dice: ('{{"access_key": "{}"}}', draw(dice, BASE64, 38) + "b2"),
    "email": lambda dice: (
        "__author__ = 'Jo Doe <{}>'",
        draw(dice, string.ascii_lowercase, 6) + ".doe@" + draw(dice, LOWER, 8) + "x.co.uk",
    ),
    "ipv4": lambda dice: ("server = '{}'", f"{dice.choice((45, 80, 130, 212))}.{dice.randrange(256)}.{dice.randrange(256)}.77"),
    "ipv6": lambda dice: (
        "server = '[{}]:80'",
        f"2a0{draw(dice, HEX, 1)}:{draw(dice, '123456789', 3)}::{draw(dice, '123456789', 4)}",
    ),
    "private_key": lambda dice: ('KEY = """{}"""', private_key(dice)),
}
COPIES = 20

FRIENDS = [
    "password = 'password'",
    "password = getpass('Your password, please: ')",
    "PASSWORD = os.environ['DATABASE_PASSWORD']",
    "password = f'{prefix}{number}'",
    "SECRET_KEY = '<your secret key>'",
    "SECRET_KEY = 'change-me-before-1st-use'",
    "token = '${GITHUB_TOKEN_1}'",
    "token = '%(token1)s-and-more'",
    "plugin = {'password': 'mysql_native_password'}",
    "bos_token = '<|endoftext|>'",
    "secret = 'dummy-secret-1234567890'",
    "api_key = 'abcdefghijklmnopqrstuvwxyz0123456789'",
    "api_key = 'xxxxxxxxxxxxxxxxxxxxxxxxxxxx1234'",
    "token_type = 'urn:ietf:params:oauth:token-type:jwt'",
    "private_key = '/etc/ssl/private/key1.pem'",
    "token = '123e4567-e89b-12d3-a456-426614174000'",
    "secret_sha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'",
    "token_digest = 'd41d8cd98f00b204e9800998ecf8427e'",
    "revision = '1f3870be274f6c49b3e31a0c6728957f1f3870be'",
    "password.sha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'",
    "commit.access_key = '1f3870be274f6c49b3e31a0c6728957f1f3870be'",
    "if data.startswith('-----BEGIN PRIVATE KEY-----'): authenticatewithcertificates(data)",
    "AKIAIOSFODNN7EXAMPLE = 1",
    "url = 'postgresql://user:password@host.org/db'",
    "url = 'https://{user}:{password}@host.org'",
    "url = 'http://user:pass@web.com'",
    "header = 'Bearer of-what-you-have-been-given'",
    "header = f'Bearer {token_number_1_of_the_user}'",
    "url = 'postgresql://postgres:postgres@localhost/db'",
    "font = 'QAAAAAAAwAaAKIAAKIAABCDEFGHIJKLMNAABQAHAM0AAQAAAAAABQ'",
    "url = 'ssh://git@host.org/repository'",
    "clone = 'git@github.com:owner/name.git'",
    "x = a@b.transpose()",
    "icon = 'icon@2x.png'",
    "return H@self.cov + J.T@self.res",
    "y = X@model.weights",
    "y = X@self.net",
    "y = X@cls.info",
    "y = X@weights.mT",
    "y = X@model.weights.T",
    "to = 'root@box.localdomain, me@mail.test'",
    "to = 'someone@example.com, other@mail.example.org'",
    "to = '%s@host.org' % name",
    "to = f'{name}@host.org'",
    "@functools.cache\ndef f(): pass",
    "reference = 'module@1.part'",
    "dns = '8.8.8.8', '1.1.1.1', '2001:4860:4860::8888'",
    "host = '127.0.0.1', '10.1.2.3', '192.168.1.17', '169.254.1.2', '0.0.0.0', '255.255.255.255', '224.0.0.251'",
    "documentation = '192.0.2.17', '198.51.100.23', '203.0.113.99', '2001:db8::1'",
    "__version__ = '3.11.7.12'",
    "version = 'version 12.10.2.3'",
    "require = 'package==20.11.2.14'",
    "agent = 'Mozilla/5.0 Chrome/41.22.100.33'",
    "oid = '1.3.6.1.4.1.311.21.20'",
    "section = '3.2.1.4'",
    "network = '80.12.0.0/16'",
    "numbers[2000::10] + numbers[3000:4000:20]",
    "time = '2023:12:31', '20:15:30'",
    "if text.startswith('-----BEGIN RSA PRIVATE KEY-----'): raise ValueError('give a certificate, no key')",
    "certificate = '''-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBaMQswCQYDVQQGEwJJ\n'''",
]


def program(line: str) -> str:
    return f"import os\n\n\n# first\n{line}\nlast = 1\n"


def planted(kind: str) -> list[tuple[str, str]]:
    """Return programs with a secret of a kind, and the secrets."""
    dice = random.Random(kind)
    made = [SECRETS[kind](dice) for _ in range(COPIES)]
    return [(program(template.format(secret)), secret) for template, secret in made]


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


def spellings(key: str) -> tuple[str, str, str]:
    """Return programs with a key in a long string, in a string a line, and in one line."""
    in_pieces = "KEY = (" + "\n".join(f"    '{line}\\n'" for line in key.splitlines()) + ")\n"
    return f'KEY = """\n{key}\n"""\n', in_pieces, "KEY = " + repr(key) + "\n"


def test_every_line_of_a_private_key_goes_and_it_counts_once() -> None:
    for kind in ("RSA ", "EC ", "OPENSSH ", "", "ENCRYPTED "):
        key = private_key(random.Random(kind), kind)
        for content in spellings(key):
            redacted, counts = redact(content, REDACT)
            assert counts == {"private_key": 1}
            assert not any(line in redacted for line in key.splitlines()[1:-1])
            assert is_python(redacted)
            assert redacted.count("REDACTED_1") == 13


def test_every_line_of_an_encrypted_private_key_goes_and_its_headers_stay() -> None:
    begin, *lines = private_key(random.Random(0)).splitlines()
    headers = ["Proc-Type: 4,ENCRYPTED", "DEK-Info: AES-128-CBC,0A1B2C3D4E5F60718293A4B5C6D7E8F9", ""]
    for content in spellings("\n".join([begin, *headers, *lines])):
        redacted, counts = redact(content, REDACT)
        assert counts == {"private_key": 1}
        assert not any(line in redacted for line in lines[:-1])
        assert all(header in redacted for header in headers)
        assert is_python(redacted)


def test_a_private_key_whose_first_line_has_no_small_letter_goes() -> None:
    begin, *lines = private_key(random.Random(0)).splitlines()
    lines[0] = lines[0].upper()
    for content in spellings("\n".join([begin, *lines])):
        redacted, counts = redact(content, REDACT)
        assert counts == {"private_key": 1}
        assert not any(line in redacted for line in lines[:-1])


def test_a_private_key_without_an_end_stops_at_the_next_block() -> None:
    line = draw(random.Random(0), BASE64, 60) + "aB1z"
    content = "x = '''-----BEGIN PRIVATE" + f" KEY-----\n-----BEGIN CERTIFICATE-----\n{line}\n'''\n"
    assert redact(content, REDACT) == (content, {})


def test_no_line_of_a_private_key_is_looked_at_twice() -> None:
    begins = 500
    content = ("-----BEGIN PRIVATE" + " KEY-----\naB1aB1aB1aB1aB1a\n") * begins
    assert len([*credentials(content)]) == begins


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
    for file in sorted(STANDARD_LIBRARY.glob("*.py")):
        content = file.read_text(encoding="utf-8")
        redacted, counts = redact(content, REDACT)
        assert set(counts) <= {"email", "ipv4", "ipv6"}, file
        assert is_python(redacted), file
        assert redact(redacted, REDACT).counts == {}, file


def test_only_the_kinds_that_are_asked_for_are_looked_for() -> None:
    content = "x = 'jo@host.org 80.1.2.3'\n"
    assert redact(content, Settings(kinds=("emails",))).counts == {"email": 1}
    assert redact(content, Settings(kinds=("ip_addresses",))).counts == {"ipv4": 1}
    assert redact(content, Settings(kinds=())) == (content, {})
    assert redact(content, Settings(mode="off")) == (content, {})
    assert redact(content, Settings(mode="drop")).counts == {"email": 1, "ipv4": 1}


@pytest.mark.parametrize(
    "piece",
    ["a@b.", "1.", "80.1.2.3.", "password='", "-----BEGIN PRIVATE KEY-----\nA1b", "://a:", "aws key", "2a00:", "eyJ", "@"],
)
def test_hostile_text_takes_time_in_proportion_to_its_length(piece: str) -> None:
    start = time.process_time()
    redact(piece * (2**18 // len(piece)), REDACT)
    assert time.process_time() - start < 10


@pytest.mark.parametrize("settings", [{"mode": "redakt"}, {"kinds": ("phone",)}])
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(CodeparrotError, match="secrets"):
        Settings(**settings).check()  # pyright: ignore[reportArgumentType]


def test_every_name_server_is_public() -> None:
    assert all(address.is_global for address in NAME_SERVERS)
