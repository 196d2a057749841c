"""Made-up secrets of every kind, drawn at random, in programs; and text that only looks like a secret."""

import random
import string
from collections.abc import Callable

HEX = "0123456789abcdef"
LOWER = string.ascii_lowercase + string.digits
UPPER = string.ascii_uppercase + string.digits
WORD = string.ascii_letters + string.digits
BASE64 = WORD + "+/"


def draw(dice: random.Random, alphabet: str, length: int) -> str:
    return "".join(dice.choices(alphabet, k=length))


def private_key(dice: random.Random, kind: str = "RSA ") -> str:
    lines = [draw(dice, BASE64, 64) for _ in range(12)] + [draw(dice, BASE64, 30) + "=="]
    # In pieces, so that no scanner takes this file for one with a key.
    return "\n".join([f"-----BEGIN {kind}PRIVATE" + " KEY-----", *lines, f"-----END {kind}PRIVATE" + " KEY-----"])


# Each kind of secret in a program: the text of the program, and the secret in it. Drawn at random.
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
