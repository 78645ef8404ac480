from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.model.secrets import REDACTED, is_secret_name, redact, redact_argv, redact_text

_LETTERS = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"


def _planted(head: str, length: int, alphabet: str = _LETTERS) -> str:
    """Make a secret of a known form; written out, it would look like a leak to a scanner."""
    return head + (alphabet * 4)[:length]


HEX = "0123456789abcdef"
SECRETS = {
    "AWS access key": _planted("AKIA", 16, "ABCDEFGH23456789"),
    "AWS temporary key": _planted("ASIA", 16, "ABCDEFGH23456789"),
    "GitHub personal": _planted("ghp_", 36),
    "GitHub app": _planted("ghs_", 36),
    "GitHub fine-grained": _planted("github_pat_", 40),
    "GitLab": _planted("glpat-", 20),
    "OpenAI": _planted("sk-", 48),
    "OpenAI project": _planted("sk-proj-", 40),
    "Anthropic": _planted("sk-ant-api03-", 40),
    "Hugging Face": _planted("hf_", 34),
    "Slack bot": _planted("xoxb-", 24),
    "Slack app": _planted("xapp-1-", 24),
    "Google API": _planted("AIza", 35),
    "Google OAuth": _planted("ya29.", 40),
    "JSON Web Token": ".".join(
        [_planted("eyJ", 20), _planted("eyJ", 30), "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"]
    ),
    "npm": _planted("npm_", 36),
    "PyPI": _planted("pypi-AgEI", 60),
    "Stripe": _planted("sk_live_", 24),
    "Stripe restricted": _planted("rk_test_", 24),
    "Telegram bot": _planted("123456789:", 35),
    "SendGrid": _planted("SG.", 22) + _planted(".", 43),
    "Databricks": _planted("dapi", 32, HEX),
    "DigitalOcean": _planted("dop_v1_", 64, HEX),
    "Replicate": _planted("r8_", 37),
    "NVIDIA": _planted("nvapi-", 64),
    "Vault": _planted("hvs.", 24),
    "Docker": _planted("dckr_pat_", 27),
    "Neptune": _planted("eyJhcGlf", 80),
    "Azure AD": _planted("Ab38Q~", 34),
    "LangSmith": _planted("lsv2_pt_", 32, HEX) + "_0123456789",
    "Pinecone": _planted("pcsk_", 60),
    "Perplexity": _planted("pplx-", 48),
    "Tavily": _planted("tvly-", 32),
    "private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nAAAA\n-----END RSA PRIVATE KEY-----",
    "cut-off private key": "-----BEGIN PRIVATE KEY-----\nMIIEow\nAAAA",
}

SECRET_NAMES = """
    HF_TOKEN GITHUB_TOKEN GH_TOKEN BOT_TOKEN token --token access_token CLIENT_SECRET secret
    AWS_SECRET_ACCESS_KEY AWS_ACCESS_KEY_ID DB_PASSWORD PGPASSWORD password --db-password dbPassword
    MYSQL_PASSWD MYSQL_PWD SSH_PASSPHRASE API_KEY OPENAI_API_KEY --api-key apiKey APIKEY MYAPIKEY
    WANDB_API_KEY KAGGLE_KEY PRIVATE_KEY SESSION_KEY ENCRYPTION_KEY AZURE_STORAGE_ACCOUNT_KEY
    GOOGLE_APPLICATION_CREDENTIALS HTTP_AUTH Authorization COOKIE SENTRY_DSN
    AZURE_STORAGE_CONNECTION_STRING SharedAccessKey AccountKey SMTP_PASS GITHUB_PAT API_KEY_PROD
""".split()

OTHER_NAMES = """
    tokenizer TOKENIZERS_PARALLELISM max_tokens n_tokens --max-new-tokens pad_token eos_token_id
    mask_token token_dim token_type_ids keyboard key --key-dim num_keys primary_key monkey author
    authors AUTHOR auth_method passthrough pass two_pass n_passes PWD OLDPWD secretary
    SECRET_SANTA_COUNT use_auth_token no-password HF_HUB_DISABLE_IMPLICIT_TOKEN lr bypass compass
    cookiecutter dsname PRIVATE_KEY_PATH secret_name pattern
""".split()


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_telling_name_hides_its_value(name: str) -> None:
    assert redact(name, "hunter2-and-more") == REDACTED


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_a_harmless_name_keeps_its_value(name: str) -> None:
    assert not is_secret_name(name)
    assert redact(name, "100") == "100"


@pytest.mark.parametrize("kind", SECRETS)
def test_a_value_of_a_known_form_is_hidden_under_any_name(kind: str) -> None:
    assert redact("notes", SECRETS[kind]) == REDACTED


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_cut_out_of_a_text_and_the_rest_stays(kind: str) -> None:
    text = f"cannot reach the server with {SECRETS[kind]}"

    assert redact_text(text) == f"cannot reach the server with {REDACTED}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgres://bob:s3/cr@t@db/x", f"postgres://bob:{REDACTED}@db/x"),
        ("mysql+pymysql://bob:s3/cret@db", f"mysql+pymysql://bob:{REDACTED}@db"),
        (
            f"https://discord.com/api/webhooks/123/{_planted('', 30)}",
            f"https://discord.com/api/webhooks/{REDACTED}",
        ),
        (
            "machine api.wandb.ai login user password s3cret",
            f"machine api.wandb.ai login user password {REDACTED}",
        ),
        (f"wandb login --relogin {HEX * 2}{HEX[:8]}", f"wandb login --relogin {REDACTED}"),
        (
            f'{{"username":"bob","key":"{HEX * 2}"}}',
            f'{{"username":"bob","key":"{REDACTED}"}}',
        ),
        ("postgres://bob:s3cret@db/x", f"postgres://bob:{REDACTED}@db/x"),
        ("redis://:s3cret@cache:6379/0", f"redis://:{REDACTED}@cache:6379/0"),
        ("postgres://bob:a@b@db/x", f"postgres://bob:{REDACTED}@db/x"),
        ("git+https://x:abc@host:8443/r.git@v1", f"git+https://x:{REDACTED}@host:8443/r.git@v1"),
        (f"https://{_planted('', 30)}@host/simple", f"https://{REDACTED}@host/simple"),
        ("https://host/c?sv=1&sig=a%2Fb%3D", f"https://host/c?sv=1&sig={REDACTED}"),
        ("https://host/?page=2&token=abc&x=1", f"https://host/?page=2&token={REDACTED}&x=1"),
        (
            "https://hooks.slack.com/services/T0/B0/abcdef",
            f"https://hooks.slack.com/services/{REDACTED}",
        ),
        (
            "Endpoint=sb://x/;SharedAccessKeyName=Root;SharedAccessKey=ab+c/==",
            f"Endpoint=sb://x/;SharedAccessKeyName=Root;SharedAccessKey={REDACTED}",
        ),
        ("host=db user=bob password=s3cret", f"host=db user=bob password={REDACTED}"),
        ("password='two words' x=1", f"password='{REDACTED}' x=1"),
        ("password: s3cret", f"password: {REDACTED}"),
        ('{"token": "s3cret", "n": 5}', f'{{"token": "{REDACTED}", "n": 5}}'),
        ("Authorization: Bearer s3cret", f"Authorization: Bearer {REDACTED}"),
        ("Authorization: Basic Ym9iOnMzY3JldA==", f"Authorization: Basic {REDACTED}"),
        (f"bearer {_planted('', 20)}1", f"bearer {REDACTED}"),
    ],
)
def test_only_the_secret_part_is_hidden(text: str, expected: str) -> None:
    assert redact_text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "the default password of the login page",
        "https://host:8080/path/a@b",
        "epoch 3 token: 5 tokens: 100 loss: 0.5",
        "started at 12:30:01, max_tokens=100, tokenizer=bert-base",
        "https://host:8080/path@v2",
        "ssh://git@github.com/a/b.git",
        "git+https://github.com/a/b@0123456789abcdef0123456789abcdef01234567",
        "basic operations of the bearer",
        "sk-learn-regression-baseline-long",
        "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "the hf_model_with_a_long_name_and_more_words",
        "use_auth_token=True pad_token=<pad> token=none",
        "/home/bob/data/train.csv",
        "",
    ],
)
def test_a_text_without_secrets_stays_as_it_is(text: str) -> None:
    assert redact_text(text) == text


def test_an_address_under_a_telling_name_loses_only_its_password() -> None:
    assert redact("DATABASE_DSN", "mysql://bob:s3cret@db/x") == f"mysql://bob:{REDACTED}@db/x"


def test_an_address_without_a_password_under_a_telling_name_is_hidden() -> None:
    assert redact("SENTRY_DSN", "https://abcdef@sentry.example/1") == REDACTED


@pytest.mark.parametrize("value", ["", "0", "1", "true", "False", "none", "off"])
def test_an_answer_of_yes_or_no_is_no_secret(value: str) -> None:
    assert redact("AUTH", value) == value


def test_the_directory_variable_is_no_password() -> None:
    assert redact("PWD", "/tmp/x") == "/tmp/x"
    assert redact("pwd", "hunter2") == REDACTED


def test_options_of_a_command_lose_their_secret_values() -> None:
    argv = ["train.py", "--api-key", "s3cret", "--token=s3cret", "token=s3cret", "--lr", "0.1"]

    assert redact_argv(argv) == (
        "train.py",
        "--api-key",
        REDACTED,
        f"--token={REDACTED}",
        f"token={REDACTED}",
        "--lr",
        "0.1",
    )


def test_an_option_that_follows_a_telling_switch_is_not_its_value() -> None:
    argv = ("train.py", "--auth", "--epochs", "3", "--auth", "true", "x.csv")

    assert redact_argv(argv) == argv


def test_a_command_without_secrets_stays_as_it_is() -> None:
    argv = ("python", "train.py", "--max-tokens", "100", "tokenizer=bert", "--key-dim", "64",
            "--use-auth-token", "data.csv", "--author", "bob", "a b=c", "--", "-x")  # fmt: skip

    assert redact_argv(argv) == argv


def test_a_secret_by_form_is_hidden_anywhere_in_a_command() -> None:
    secret = SECRETS["Hugging Face"]

    assert redact_argv(["curl", "-H", f"Authorization: Bearer {secret}", f"--x={secret}"]) == (
        "curl",
        "-H",
        f"Authorization: Bearer {REDACTED}",
        f"--x={REDACTED}",
    )


_PIECES = st.sampled_from(
    [
        *SECRETS.values(),
        "password=",
        "token: ",
        "https://u:p@h/",
        "Bearer ",
        " ",
        "=",
        '"',
        "x",
        "&",
    ]
)


@given(st.lists(_PIECES | st.text(max_size=8), max_size=8).map("".join))
def test_redacting_twice_is_redacting_once(text: str) -> None:
    once = redact_text(text)

    assert redact_text(once) == once


@given(
    st.sampled_from(sorted(SECRETS)), st.text(" \n,()", max_size=3), st.text(" \n,()", max_size=3)
)
def test_no_planted_secret_survives_its_surroundings(kind: str, before: str, after: str) -> None:
    assert SECRETS[kind] not in redact_text(f"{before} {SECRETS[kind]} {after}")


@given(st.lists(st.text(max_size=12), max_size=6))
def test_a_command_keeps_its_number_of_words(argv: list[str]) -> None:
    assert len(redact_argv(argv)) == len(argv)


@given(st.text(), st.text())
def test_any_name_and_value_can_be_asked_about(name: str, value: str) -> None:
    assert isinstance(redact(name, value), str)
