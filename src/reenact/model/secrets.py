"""What counts as a secret, and what a record says in its place.

One place for the rules: environment variables, flags, command lines, addresses and error texts all
pass through here before anything is written. A name gives a secret away (`HF_TOKEN`,
`--db-password`), or the value does (`ghp_...`, a private key, the password in an address).

Promised: what is hidden leaves the word `<redacted>` behind, so that a reader sees that there was a
value; redacting twice is redacting once.
Not promised: that a secret is recognised which has neither a telling name nor a known form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

REDACTED = "<redacted>"

_SECRET_WORDS = frozenset(
    """
    secret secrets password passwords passwd passphrase passcode pwd credential credentials
    token auth authorization bearer cookie cookies jwt dsn apikey accesskey privatekey secretkey
    sessionkey authkey accesstoken authtoken sessionid csrf connectionstring
    """.split()
)
"""A name that ends in one of these names a secret."""

_SECRET_FILES = frozenset(
    """
    .netrc _netrc .npmrc .pypirc .pgpass .htpasswd .git-credentials id_rsa id_dsa id_ecdsa id_ed25519
    """.split()
)
_KEY_ENDINGS = frozenset("pem key p12 pfx jks keystore kdbx ppk asc gpg".split())
"""A file whose name ends so holds a key."""

_SECRET_ENDINGS = ("password", "passwd", "passphrase", "apikey", "secretkey", "authtoken")
"""Words without a separator that end so (`PGPASSWORD`, `MYAPIKEY`)."""

_SECRET_PAIRS = frozenset(
    (first, second)
    for second, firsts in {
        "key": """
            api access private secret session encryption signing ssh license account auth master
            shared client service deploy storage admin app application decryption hmac token
            wandb comet openai anthropic kaggle mistral cohere groq gemini hf datadog subscription
            """,
        "pass": "db database smtp mail user ftp ssh redis mysql postgres login root admin proxy my",
        "pat": "github gitlab azure ado devops jira",
        "string": "connection",
        "str": "connection conn",
        "sas": "storage account blob azure",
        "signature": "amz goog",
    }.items()
    for first in firsts.split()
)
"""A name that ends in one of these pairs of words names a secret."""

_SUFFIXES = frozenset("id value str text base64 b64 old new dev prod test staging header".split())
"""Words after the telling one that change nothing: `AWS_ACCESS_KEY_ID`, `API_KEY_PROD`."""

_ML_TOKENS = frozenset(
    """
    pad padding eos bos cls sep unk mask special class image audio video text word next prev
    previous max min num n per start end stop first last begin vocab register distill prompt
    decoder encoder query visual patch time blank separator eot assistant think fim placeholder
    """.split()
)
"""Words that make of `token` a unit of text: `pad_token`, `stop_token`."""

_SWITCH_WORDS = frozenset(
    """
    use no not disable enable enabled with without has require requires required skip allow is ask
    show save needs
    """.split()
)
"""Words that make a name a yes-or-no question: `--use-auth-token`, `--no-password`."""

_PLAIN_VALUES = frozenset(("", "0", "1", "true", "false", "yes", "no", "on", "off", "none", "null"))
"""Values that answer yes or no and hide nothing."""

_SCHEMES = frozenset(("bearer", "basic", "digest", "token"))
"""What follows `Authorization:` and is not the secret itself."""

_QUERY_SIGNATURES = frozenset(("sig", "signature"))
"""Fields of signed addresses."""

_DIRECTORY_VARIABLES = frozenset(("PWD", "OLDPWD"))

_VALUES = r"""
    -----BEGIN\ [A-Z0-9\ ]*PRIVATE\ KEY(?:\ BLOCK)?-----
        (?:.*?-----END\ [A-Z0-9\ ]*PRIVATE\ KEY(?:\ BLOCK)?-----|.*\Z)
  | (?<![A-Za-z0-9_])(?:
        (?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])                  # AWS
      | gh[pousr]_[A-Za-z0-9]{20,} | github_pat_[A-Za-z0-9_]{20,}            # GitHub
      | gl[a-z]{2,7}-[A-Za-z0-9_.-]{20,}                                     # GitLab
      | sk-(?:ant|proj|svcacct|admin|or|lf)-[A-Za-z0-9_-]{16,}               # Anthropic, OpenAI
      | sk-[A-Za-z0-9]{20,}                                                  # OpenAI
      | (?:hf|api_org)_[A-Za-z0-9]{30,}                                      # Hugging Face
      | xox[a-z]-[A-Za-z0-9-]{10,} | xapp-[0-9]-[A-Za-z0-9-]{10,}            # Slack
      | AIza[A-Za-z0-9_-]{35} | ya29\.[A-Za-z0-9_-]{20,}                     # Google
      | GOCSPX-[A-Za-z0-9_-]{20,}
      | eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*           # JSON Web Token
      | npm_[A-Za-z0-9]{36} | pypi-AgE[A-Za-z0-9_-]{16,}                     # package registries
      | [sr]k_(?:live|test)_[A-Za-z0-9]{16,} | whsec_[A-Za-z0-9+/=]{24,}     # Stripe
      | [0-9]{8,10}:[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])                       # Telegram
      | SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}                           # SendGrid
      | dapi[0-9a-f]{32} | do[opr]_v1_[0-9a-f]{64}                           # Databricks, DigitalOcean
      | r8_[A-Za-z0-9]{37} | gsk_[A-Za-z0-9]{40,} | xai-[A-Za-z0-9]{40,}     # Replicate, Groq, xAI
      | nvapi-[A-Za-z0-9_-]{40,} | hvs\.[A-Za-z0-9_-]{24,}                   # NVIDIA, Vault
      | dckr_pat_[A-Za-z0-9_-]{20,} | AGE-SECRET-KEY-1[0-9A-Z]{58}           # Docker, age
      | wandb_v1_[A-Za-z0-9_-]{20,}                                          # W&B
      | eyJhcGlf[A-Za-z0-9_=-]{40,}                                          # Neptune
      | [A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}                      # Azure AD
      | lsv2_[a-z]{2}_[A-Za-z0-9_]{32,} | pcsk_[A-Za-z0-9_]{40,}             # LangSmith, Pinecone
      | pplx-[A-Za-z0-9]{40,} | tvly-[A-Za-z0-9-]{20,}                       # Perplexity, Tavily
    )
"""

_SHORTEST_VALUE = 15
_ADDRESS = r"[A-Za-z][A-Za-z0-9+.-]*://"
_URL_USER_INFO = r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^\s/@:?\#'\"]*):[^\s/?\#'\"]+@"
_URL_LONG_USER = r"(?P<scheme>https?://)[^\s/@:?\#'\"]{20,}@"
_URL_DATABASE = (
    r"(?P<scheme>(?:postgres|postgresql|mysql|mariadb|mongodb|rediss?|amqps?|mssql|oracle|clickhouse)"
    r"(?:\+[a-z0-9]+)?://)(?P<user>[^\s/@:?\#'\"]*):[^\s'\"]+@"
)
"""In these a password may well hold a slash; elsewhere what follows one is a path."""
_WEBHOOK = (
    r"(?P<hook>hooks\.slack\.com/(?:services|workflows)/|"
    r"discord(?:app)?\.com/api/webhooks/)[A-Za-z0-9_/-]+"
)
_LOGIN = r"""
    (?P<netrc>\b(?:machine\s+\S+|default)\s+login\s+\S+\s+password\s+)\S+
  | (?P<wandb>\bwandb\s+login\s+(?:--?\S+\s+)*)[0-9a-f]{40}\b
  | (?P<kaggle>"key"\s?:\s?")[0-9a-f]{32}(?=")
"""
_AUTHORIZATION = r"""
    (?P<how>(?<![A-Za-z])Authorization["']?\s?[:=]\s?["']?(?:Bearer|Basic|Digest|Token)\s+)[^\s"']+
  | (?P<bearer>\bBearer\s+)(?=[^\s]*[0-9])[A-Za-z0-9._~+/-]{16,}=*
"""
_ASSIGNMENT = r"""
    (?P<name>(?<![\w.-])-{0,2}[A-Za-z_][\w.-]*)
    (?P<sign>["']?\s?[=:]\s?)
    (?P<value>"[^"\n]*"|'[^'\n]*'|[^\s;&,"'(){}\[\]]+)
"""


def is_secret_name(name: str) -> bool:
    """Tell whether the name of a variable, flag or field says that its value is a secret.

    It is read in words: `hf_token`, `--api-key` and `dbPassword` name secrets; `max_tokens`,
    `tokenizer`, `pad_token`, `author` and `--key-dim` do not.
    """
    if name in _DIRECTORY_VARIABLES:
        return False
    words = _words(name)
    while len(words) > 1 and (words[-1] in _SUFFIXES or words[-1].isdigit()):
        words.pop()
    if not words or not _SWITCH_WORDS.isdisjoint(words):
        return False
    last = words[-1]
    before = words[-2] if len(words) > 1 else ""
    if last == "token" and before in _ML_TOKENS:
        return False
    return (
        last in _SECRET_WORDS or last.endswith(_SECRET_ENDINGS) or (before, last) in _SECRET_PAIRS
    )


def is_secret_file(path: str) -> bool:
    """Tell whether the name of a file says that what is in it is a secret: `.env`, `id_rsa`, `tls.key`."""
    name = path.rpartition("/")[2].lower()
    stem, _, ending = name.rpartition(".")
    if name in _SECRET_FILES or name.startswith(".env") or ending in _KEY_ENDINGS:
        return True
    return is_secret_name(stem or name) or is_secret_name(name)


def redact(name: str, value: str) -> str:
    """Return what a record may say of the value that `name` has.

    The whole value goes when the name names a secret, unless it only answers yes or no; of an
    address with a password only the password goes. Otherwise the value passes `redact_text`.
    """
    if value.lower() in _PLAIN_VALUES or not is_secret_name(name):
        return redact_text(value)
    is_address = _pattern(_ADDRESS, 0).match(value) is not None
    return redact_text(value) if is_address and _redact_urls(value) != value else REDACTED


def redact_text(text: str) -> str:
    """Return `text` without the secrets that can be recognised in it.

    They are values of a known form, passwords in addresses, `Authorization` headers, and what
    stands after a telling name and `=` or `:`.
    """
    # What stands beside a hidden secret may be recognised only once that one is gone.
    while (redacted := _redact_once(text)) != text:
        text = redacted
    return text


def redact_argv(argv: Iterable[str]) -> tuple[str, ...]:
    """Return a command's words without the secrets in them.

    Covered: `--api-key VALUE`, `--api-key=VALUE`, `api_key=VALUE` and values of a known form.
    Not covered: a secret glued to a short option (`-phunter2`) or after one (`-u user:password`).
    """
    kept: list[str] = []
    expects_secret = False
    for word in argv:
        if expects_secret and not _looks_like_option(word):
            kept.append(word if word.lower() in _PLAIN_VALUES else REDACTED)
            expects_secret = False
            continue
        name, sign, value = word.partition("=")
        is_telling = _is_plain_name(name) and is_secret_name(name)
        expects_secret = is_telling and not sign and name.startswith("-")
        if is_telling and sign:
            kept.append(f"{name}={redact(name, value)}")
        else:
            kept.append(redact_text(word))
    return tuple(kept)


def secret_forms() -> re.Pattern[bytes]:
    """Return what finds secrets by their form alone in the bytes of a text."""
    return _bytes_pattern(_VALUES)


def hide(words: Iterable[str], secrets: Iterable[str]) -> tuple[str, ...]:
    """Replace texts that are known to be secret wherever they stand in words."""
    hidden = tuple(words)
    for secret in secrets:
        if secret:
            hidden = tuple(word.replace(secret, REDACTED) for word in hidden)
    return hidden


def _redact_once(text: str) -> str:
    if len(text) >= _SHORTEST_VALUE:
        text = _pattern(_VALUES, re.VERBOSE | re.DOTALL).sub(REDACTED, text)
    text = _redact_urls(text)
    if "password" in text or "wandb" in text or '"key"' in text:
        text = _pattern(_LOGIN, re.VERBOSE).sub(
            lambda m: (m["netrc"] or m["wandb"] or m["kaggle"]) + REDACTED, text
        )
    if "earer" in text or "uthorization" in text:
        text = _pattern(_AUTHORIZATION, re.VERBOSE | re.IGNORECASE).sub(
            lambda m: (m["how"] or m["bearer"]) + REDACTED, text
        )
    if "=" in text or ":" in text:
        text = _pattern(_ASSIGNMENT, re.VERBOSE).sub(_redact_assignment, text)
    return text


def _redact_urls(text: str) -> str:
    if "@" in text and "://" in text:
        text = _pattern(_URL_DATABASE, 0).sub(
            lambda m: f"{m['scheme']}{m['user']}:{REDACTED}@", text
        )
        text = _pattern(_URL_USER_INFO, 0).sub(
            lambda m: f"{m['scheme']}{m['user']}:{REDACTED}@", text
        )
        text = _pattern(_URL_LONG_USER, 0).sub(lambda m: f"{m['scheme']}{REDACTED}@", text)
    if "hooks" in text:
        text = _pattern(_WEBHOOK, 0).sub(lambda m: m["hook"] + REDACTED, text)
    return text


def _redact_assignment(found: re.Match[str]) -> str:
    name, sign, value = found["name"], found["sign"], found["value"]
    bare = value.strip("\"'")
    if bare.lower() in _PLAIN_VALUES or bare.lower() in _SCHEMES or bare == REDACTED:
        return found[0]
    if not is_secret_name(name) and not (name in _QUERY_SIGNATURES and sign == "="):
        return found[0]
    # `token: 5` in a log is a number about tokens more often than a token; quoted, it is a field.
    if ":" in sign and sign[0] not in "\"'" and _words(name)[-1] == "token":
        return found[0]
    return f"{name}{sign}{value.replace(bare, REDACTED)}"


def _is_plain_name(text: str) -> bool:
    return _pattern(r"-{0,2}[A-Za-z_][\w.-]*", 0).fullmatch(text) is not None


def _looks_like_option(word: str) -> bool:
    return _pattern(r"--?[A-Za-z][\w-]*(?:=.*)?", re.DOTALL).fullmatch(word) is not None


def _words(name: str) -> list[str]:
    """Split a name into its lower-case words: `dbPassword`, `DB_PASSWORD` and `--db-password`."""
    found = _pattern(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", 0).findall(name)
    return [word.lower() for word in found]


@cache
def _pattern(source: str, flags: int) -> re.Pattern[str]:
    """Compile when first needed: a command that records nothing does not pay for it."""
    return re.compile(source, flags)


@cache
def _bytes_pattern(source: str) -> re.Pattern[bytes]:
    return re.compile(source.encode(), re.VERBOSE | re.DOTALL)
