"""What keys look like: the patterns of detect-secrets and a few more, and where in a text they can begin."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

# What a provider's keys begin with or contain, in lower case: the detector's patterns are tried at these places.
_TRIGGERS = {
    "AWSKeyDetector": ("akia", "abia", "acca", "asia", "a3t", "aws"),
    "ArtifactoryDetector": ("akc",),
    "AzureStorageKeyDetector": ("accountkey=",),
    "BasicAuthDetector": ("://",),
    "CloudantDetector": ("cloudant",),
    "DiscordBotTokenDetector": ("discord", "bot_token", "bottoken", "client.run("),
    "GitHubTokenDetector": ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    "GitLabTokenDetector": tuple("glpat- gldt- glft- glsoat- glrt- gr1348941 glcbt- glimt- glptt- glagent- gloas-".split()),
    "IbmCloudIamDetector": ("ibm", "cloud_iam", "cloud-iam", "cloudiam"),
    "MailchimpDetector": tuple(f"-us{digit}" for digit in range(1, 10)),
    "OpenAIDetector": ("t3blbkfj",),
    "PypiTokenDetector": ("pypi-age",),
    "SendGridDetector": ("sg.",),
    "SlackDetector": ("xox", "hooks.slack"),
    "SoftlayerDetector": ("softlayer",),
    "SquareOAuthDetector": ("sq0csp-",),
    "StripeDetector": ("k_live_",),
    "TelegramBotTokenDetector": (":aa",),
    "TwilioKeyDetector": ("twilio", "account_sid", "accountsid"),
}
# Keys that detect-secrets 1.5 does not know, or finds together with the text around them.
_MORE = {
    "anthropic_key": (("sk-ant-",), r"sk-ant-[\w-]{30,200}"),
    "gitlab_token": (("glpat-",), r"glpat-[\w-]{20,500}\.[0-9a-z]{2}\.[0-9a-z]{9}(?!\w)"),
    "bearer_token": (("bearer ",), r"[Bb]earer (?=[\w.=+/~-]{0,64}[0-9])([\w.=+/~-]{20,500}+)(?!:\w|[\w.=+/~-])"),
    "github_fine_grained_token": (("github_pat_",), r"github_pat_[A-Za-z0-9_]{36,255}"),
    "google_api_key": (("aiza",), r"AIza[\w-]{35}(?![\w-])"),
    "google_oauth_secret": (("gocspx-",), r"GOCSPX-[\w-]{28}"),
    "hugging_face_token": (("hf_",), r"(?<!\w)hf_[A-Za-z0-9]{34}(?!\w)"),
    # detect-secrets leaves out the signature. The possessive parts make it whole or nothing.
    "json_web_token": (("eyj",), r"eyJ[\w=-]{10,3000}+(?:\.[\w=-]{1,99999}+){1,4}+(?![\w=-])"),
    "npm_token": (("npm_", "_authtoken="), r"(?<!\w)npm_[A-Za-z0-9]{36}(?!\w)|_authToken=\s*([A-Fa-f0-9-]{36})(?![\w-])"),
    "slack_token": (("xoxe.",), r"xoxe\.xox[bp]-[\w-]{20,500}"),
    "openai_project_key": (("sk-proj-",), r"sk-proj-[\w-]{40,200}"),
}
NAMES = tuple(
    "password passwd passphrase pwd secret token api_key api-key apikey access_key accesskey auth_key authkey account_key"
    " client_key private_key encryption_key signing_key credential".split()
)
PASSWORD_NAMES = ("password", "passwd", "passphrase", "pwd", "secret")


class Detector(NamedTuple):
    """The patterns of one kind of key."""

    kind: str
    patterns: tuple[re.Pattern[str], ...]
    begins_there: bool
    """Whether a match begins with the trigger."""


class Search(NamedTuple):
    """Where patterns can begin, and which."""

    triggers: Any
    """An automaton that finds all triggers in one pass."""
    detectors: list[Detector | None]
    """The detectors to try at each trigger; None: a name that gives a secret away."""
    names: list[str]


@cache
def prepared(more_names: tuple[str, ...] = ()) -> Search:
    """Return the search for all patterns, and for more names than NAMES; each process makes it once."""
    from ahocorasick_rs import AhoCorasick

    triggers: list[tuple[str, Detector | None]] = [(name, None) for name in (*NAMES, *more_names)]
    for detector, begins in _detectors():
        triggers += [(trigger, detector) for trigger in begins]
    names = [trigger for trigger, _ in triggers]
    return Search(AhoCorasick(names), [detector for _, detector in triggers], names)


def _detectors() -> Iterator[tuple[Detector, tuple[str, ...]]]:
    import importlib
    import inspect
    import pkgutil

    import detect_secrets.plugins as plugins
    from detect_secrets.plugins.base import RegexBasedDetector

    modules = [importlib.import_module(f"{plugins.__name__}.{each.name}") for each in pkgutil.iter_modules(plugins.__path__)]
    classes = dict(member for module in modules for member in inspect.getmembers(module, inspect.isclass))
    for name, begins in _TRIGGERS.items():
        plugin = classes[name]()
        assert isinstance(plugin, RegexBasedDetector)
        kind = re.sub(r"\W+", "_", plugin.secret_type.lower())
        yield Detector(kind, tuple(plugin.denylist), False), begins
    for kind, (begins, pattern) in _MORE.items():
        yield Detector(kind, (re.compile(pattern, re.ASCII),), True), begins
