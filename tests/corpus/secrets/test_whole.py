"""Personal data is found whole or not touched: nothing of an address or a key stays beside its placeholder."""

import random
import string

import pytest

from codeparrot.corpus.filters.syntax import is_python
from codeparrot.corpus.secrets.redaction import redact
from codeparrot.corpus.secrets.stage import Secrets
from tests.corpus.secrets.made_up import BASE64, LOWER, UPPER, WORD, draw

KINDS = Secrets().kinds
DICE = random.Random(11)
URL_SAFE = WORD + "-_"


def token(*lengths: int) -> str:
    """Return a JSON Web Token whose parts behind the header have these lengths."""
    return ".".join(
        ["eyJhbGciOiJIUzI1NiJ9", *(draw(DICE, WORD, 1) + draw(DICE, URL_SAFE, length - 2) + "9" for length in lengths)]
    )


# The text before a secret, the secret, and the text behind it.
ADDRESSES = [
    ("# ", "josé.muñoz@empresa.com", ""),
    ("# ", "jose\u0301.mun\u0303oz@empresa.com", " in decomposed letters"),
    ("mail = 'Jörg <", "jörg.müller-lüdenscheidt@web.de", ">'"),
    ("# ", "hans@bücher.de", ", 2019"),
    ("# ", "hans@xn--bcher-kva.de", ""),
    ("# ", "info@büro.müller.co.uk", ""),
    ("mail = '", "иван.петров@почта.рф", "'"),
    ("# ", "ivan@xn--80a1acny.xn--p1ai", ""),
    ("# ", "квіточка@пошта.укр", ""),
    ("# ", "χρήστης@παράδειγμα.ελ", ""),
    ("# ", "अजय@डाटा.भारत", " (a vowel sign is no letter)"),
    ("# 邮箱：", "用户@例子.公司", "。"),
    ("# 联系 ", "李wei.zhang@例子.cn", ""),
    ("# 名前は ", "山田@会社.jp", " です"),
    ("# ", "yilmaz.ışık@şirket.com.tr", ""),
    ("# ", "łukasz+git@poczta.pl", ""),
    ("# ", "marc.o'brien@host.org", ""),
    ('mail = "', "luigi.d’angelo@azienda.it", '"'),
    (r"mail = '", r"jos\u00e9.mu\xf1oz@empresa.com", "'"),
    (r"mail = b'", r"jos\xc3\xa9@empresa.com", "'"),
    (r"mail = 'By:\n", r"r\u00e9mi@soci\u00e9t\u00e9.fr", r"\n'"),
    ("<a>", "jos&eacute;.mu&#241;oz@empresa.com", "</a>"),
    ("&lt;", "jo.doe@host.org", "&gt;"),
    ("mailto:", "jos%C3%A9.munoz@empresa.com", "?subject=x"),
    ("# ", "jo.doe@[80.1.2.3]", ""),
    ("# ", "bounce-" + "0123456789" * 7 + "@lists.host.org", ""),
    ("# 作者", "foo@qq.com", "获取"),
    ("# 文档请发到", "foo.bar@qq.com", ""),
    ("host = '", "2a00:1450::80.1.2.3", "'"),
    ("id = 'x5V ", "212.170.120.77", "' (no version: V is the end of a word)"),
    ("# ", "jo@straße.berlin", "."),
    ("# ", "မောင်မောင်@host.org", " (signs of Burmese)"),
    ("# ", "សុខ.ភា@host.org", " (of Khmer)"),
    ("# ", "ܕܘܿܢ@host.org", " (of Syriac)"),
    ("# ", "ދިވެހި@host.org", " (of Thaana)"),
    ("# ", "jo\u00adse@host.org", " with a soft hyphen"),
    ("# ", "bounce+jo.doe=host.org@lists.org", " (a return path)"),
    ("?mail=", "jo.doe@host.org", "&x=1"),
]
KEYS = [
    ("T = '", token(40, 43), "'"),
    ("T = '", token(900, 342), "'"),
    ("T = '", token(6000, 683), "'"),
    ("Authorization: Bearer ", token(60, 86), ""),
    ("url = '/login?token=", token(60, 43), "&next=1'"),
    ("the encrypted kind: ", token(342, 16, 500, 22), ""),
    ("no signature: ", token(60), ", and so on"),
    ("x = '", "sk_" + "live_" + draw(DICE, WORD, 99), "'"),
    ("x = '", "rk_" + "live_" + draw(DICE, WORD, 99), "'"),
    ("x = '", "ghs_" + draw(DICE, WORD, 60), "'"),
    ("client.run('", "M" + draw(DICE, WORD, 25) + "." + draw(DICE, WORD, 6) + "." + draw(DICE, WORD, 38), "')"),
    ("x = '", "glpat-" + draw(DICE, WORD, 27) + ".01." + draw(DICE, LOWER, 9), "'"),
    ("x = '", "sk-" + "proj-" + draw(DICE, WORD, 240) + "-" + draw(DICE, WORD, 30), "'"),
    ("x = '", "sk-" + draw(DICE, WORD, 20) + "T3Blbk" + "FJ" + draw(DICE, WORD, 20) + "_" + draw(DICE, WORD, 9), "'"),
    ("x = '", "GOCSPX-" + draw(DICE, WORD, 34), "'"),
    ("url = 'https://me:", "p4ssw0rd9x@ss", "@host.org/path'"),
    ("url = 'https://josé:", "contraseña9", "@host.org/path'"),
    ("x = 'AccountName=x;", "AccountKey=" + draw(DICE, WORD, 86) + "==", ";EndpointSuffix=core'"),
    ("x = '", "xoxe." + "xoxp-1-" + draw(DICE, WORD, 120), "'"),
    ("Authorization: Bearer ", draw(DICE, WORD, 30) + "9~" + draw(DICE, WORD, 10), ""),
    ("# 密钥", "ghp_" + draw(DICE, WORD, 36), "。"),
]
UNTOUCHED = [
    "# jo@müller without an ending",
    "y = größe@matrix.weights",
    "y = größe@matrix.T",
    "# Dörte@Sörensen.example.com",
    "# %s@bücher.de",
    "# é@",
    "# used as @Größe.länge",
    "x = 'eyJhbGciOiJIUzI1NiJ9'",
    "x = 'eyJhbGciOiJIUzI1NiJ9.'",
    "y = x@[1.5]",
    "y = x@[80.1]",
    "url = 'postgres://me:7A1V9/kASKW@host.org/db'",
    "x = '" + "AKIA" + draw(DICE, UPPER, 16) + draw(DICE, WORD, 3000) + "'",
]


@pytest.mark.parametrize(("before", "secret", "behind"), ADDRESSES + KEYS)
def test_a_secret_is_taken_out_whole(before: str, secret: str, behind: str) -> None:
    redacted = redact(f"{before}{secret}{behind}\nlast = 1\n", KINDS)
    assert sum(redacted.counts.values()) == 1, redacted
    assert redacted.content.startswith(before) and redacted.content.endswith(f"{behind}\nlast = 1\n")
    placeholder = redacted.content[len(before) : len(redacted.content) - len(f"{behind}\nlast = 1\n")]
    assert placeholder in ("email1@example.com", "REDACTED_1", "2001:db8::1", "192.0.2.1")


def test_at_least_thirty_cases_are_planted() -> None:
    assert len(ADDRESSES + KEYS) >= 30


@pytest.mark.parametrize("text", UNTOUCHED)
def test_what_belongs_to_nobody_is_not_touched(text: str) -> None:
    assert redact(text, KINDS) == (text, {})


@pytest.mark.parametrize("behind", [" ", "\n", "'", '"', ")", ",", ";", "\\n", "]", "<", "`", ":8080", "/path", "。", "…"])
def test_what_stands_behind_a_token_or_an_address_stays(behind: str) -> None:
    for secret, placeholder in ((token(60, 43), "REDACTED_1"), ("josé@bücher.de", "email1@example.com")):
        assert redact(f"x {secret}{behind}", KINDS).content == f"x {placeholder}{behind}"


def test_a_token_of_many_pieces_is_taken_out_with_all_of_them() -> None:
    whole = token(120, 43)
    pieces = [whole[:50], whole[50:100], whole[100:]]
    for between in ("'\n    '", '"\n    "', "' + '", "' \\\n    '"):
        quote = between[0]
        content = f"T = ({quote}{between.join(pieces)}{quote})\nlast = 'word'\n"
        redacted = redact(content, KINDS)
        assert is_python(content) and is_python(redacted.content)
        assert redacted == (f"T = ({quote}REDACTED_1{quote})\nlast = 'word'\n", {"json_web_token": 1})


@pytest.mark.parametrize(
    ("name", "first", "next_piece"),
    [
        ("password", "yVaQXekW9L9x", "ctXb03!rEMU"),
        ("api_key", "ccec38d79d89a0da0c41aebb8f010b8e", "9a5b5ab89c30"),
        ("x", "ghp_" + draw(DICE, WORD, 36), "tailoY"),
        ("auth", "Bearer kugk2xL0pETGOIdaWIoRujKs9", "Jpw3Y0=="),
    ],
)
@pytest.mark.parametrize("between", ["' '", "'\n    '", "' + '", "' +\n    '", "' \\\n    '", "' b'"])
def test_a_secret_of_several_strings_is_taken_out_with_all_of_them(name, first, next_piece, between) -> None:
    content = f"{name} = ('{first}{between}{next_piece}')\nlast = 'word'\n"
    redacted = redact(content, KINDS).content
    assert redacted == f"{name} = ('{'Bearer ' if name == 'auth' else ''}REDACTED_1')\nlast = 'word'\n"


@pytest.mark.parametrize(
    "behind", ["', '", "' if x else '", "'\n", "'\n'x'.join(y)  # '", "' + y", "' + '&next=1", "': '", "' % '"]
)
def test_strings_that_do_not_go_on_with_a_secret_stay(behind) -> None:
    assert redact(f"token = 'HrgiDZ345ZAbMyh1pIA3{behind}'", KINDS).content == f"token = 'REDACTED_1{behind}'"


def test_one_address_has_one_placeholder_in_every_case_of_its_letters() -> None:
    assert redact("JOSÉ@BÜCHER.DE josé@bücher.de", KINDS).content == "email1@example.com email1@example.com"


@pytest.mark.parametrize("letters", [string.ascii_letters, "äöüßéèñçøåł", "иванпетро", "αβγδ", BASE64])
def test_a_program_with_an_address_stays_a_program(letters: str) -> None:
    for _ in range(50):
        name, host = (draw(DICE, letters.replace("/", "").replace("+", ""), 6) for _ in range(2))
        content = f"mail = '{name}.doe@{host}.org'  # {name}@{host}.org\n"
        redacted = redact(content, KINDS).content
        assert is_python(redacted) and name not in redacted
