"""Finding secrets in text, and taking them out: passwords, keys and tokens.

Settings with a secret are refused (`pipeline.config.secret_settings`), so a run writes none. But
libraries put addresses into their messages. So every exit (console, error line, log file, MLflow,
pages) passes its text through `redact`.
"""

import os
import re
from urllib.parse import quote, unquote

MASK = "***"

# A password is not longer than this. Without a limit a long text without blanks takes very long.
LONGEST = 2000
# A value of the environment is looked for in text from this length on. Shorter ones, such as
# "postgres", are words that a text may hold without giving anything away.
SHORTEST_VALUE = 12
# How often the value of an option is decoded: a URI within a URI is percent-encoded.
DECODINGS = 3

# How names of secrets end, in options (`secret_key=`), in variables (`PGPASSWORD`), in mappings.
_NAME = (
    r"(?:secret|password|passwd|passphrase|signature|credential|token"
    r"|(?:access|account|api|private|secret|shared|sas)[_-]?key(?:[_-]?id)?"
    r"|access[_-]?key[_-]?secret)"
)

# What was redacted before, and may have a colon or a bracket after it now.
_MASKED = re.escape(MASK)

# `://user:password@`. An authority (RFC 3986) ends at the first of /?#.
_USERINFO = re.compile(
    rf"""(://)[^\s/?#@:"'<>]{{0,{LONGEST}}}:[^\s/?#"<>]{{0,{LONGEST}}}@""",
)
# The same where the password holds characters that it must not: `s3://KEY:SEC/RET@bucket`. A number
# after the colon is a port: `http://host:5000/a@b` has no password.
_LOOSE_USERINFO = re.compile(
    rf"""(://)(?!\[)[^\s/?#@:"'<>]{{0,{LONGEST}}}:"""
    rf"""(?!\d{{1,5}}(?:[/?#"'<>,;)\]}}]|$))\S{{0,{LONGEST}}}@""",
)
# `https://token@host`. Other schemes have users without a password: `postgresql://me@host`.
_HTTP_USER = re.compile(rf"""(?i)(https?://)[^\s/?#"'<>@:]{{1,{LONGEST}}}@""")
# The options of a URI are `?name=value&name=value`, also after `;` and `#`.
_URI = re.compile(r"://\S+")
_OPTION = re.compile(rf"""([?&;#])([^=\s&;?#"'<>]{{1,80}})=(?!{_MASKED})([^\s&]+)""")
# The name of an option that is a secret. The short ones are ordinary words outside of a URI.
_OPTION_NAME = re.compile(rf"(?i)(?:.*{_NAME}|sig|pwd|pass|auth|key|sas)")
# `password='some value'` as Python prints calls, `"password": "value"` as it prints mappings.
_QUOTED = re.compile(
    rf"""(?i)({_NAME}(?:=|["']\s*:\s*))(?:'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")"""
)
_QUOTED_MASK = f"'{MASK}'"
# `secret_key=value` anywhere in a text.
_ASSIGNED = re.compile(rf"(?i)({_NAME}=)(?!'?{_MASKED})[^\s&]+")
# `Authorization: Basic dXNlcjpwYXNz`.
_HEADER = re.compile(
    r"""(?i)(authorization["']?\s*[:=]\s*["']?)(?:basic|bearer|digest|negotiate|token)\s+[^\s"',]+"""
)
_BEARER = re.compile(r"(?i)(\bbearer\s+)[a-z0-9._~+/=-]{16,}")
# The identity of an AWS key.
_AWS_KEY = re.compile(r"()\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")

# The endings of the names of environment variables whose value is a secret.
_VARIABLES = (
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "TOKEN",
    "_PWD",
    "ACCESS_KEY",
    "ACCOUNT_KEY",
    "API_KEY",
    "PRIVATE_KEY",
    "SECRET_KEY",
)


def redact(text: str) -> str:
    """Return a text without its secrets. Each is replaced by `***`.

    Text without secrets stays as it is, and redacting twice changes nothing more. What is found:
    users with a password in a URI, options and assignments that are named like a secret, headers
    for authentication, identities of AWS keys, and the values of environment variables that are
    named like a secret.

    Example: `redact("http://me:word@host/x?sig=1")` returns `"http://***@host/x?sig=***"`.
    """
    if "://" in text:
        text = _USERINFO.sub(rf"\1{MASK}@", text)
        text = _LOOSE_USERINFO.sub(rf"\1{MASK}@", text)
        text = _HTTP_USER.sub(rf"\1{MASK}@", text)
        text = _URI.sub(_without_options, text)
    text = _QUOTED.sub(rf"\1{_QUOTED_MASK}", text)
    for shape in (_ASSIGNED, _HEADER, _BEARER, _AWS_KEY):
        text = shape.sub(rf"\1{MASK}", text)
    for value in _values():
        text = _without(text, value)
    return text


def _without_options(uri: re.Match[str]) -> str:
    """Return a URI without the values of those options that are secrets."""
    return _OPTION.sub(_option, uri.group())


def _option(match: re.Match[str]) -> str:
    """Return an option, without its value if that is a secret or holds one."""
    mark, name, value = match.groups()
    if _OPTION_NAME.fullmatch(unquote(name)) or _hidden_in(value):
        return f"{mark}{name}={MASK}"
    return match.group()


def _hidden_in(value: str) -> bool:
    """True if the value of an option holds a secret, such as `http%3A%2F%2Fme%3Aword%40host`."""
    for _ in range(DECODINGS):
        for part in re.split("[?&;#]", value):
            name, _, rest = part.partition("=")
            if rest not in ("", MASK) and _OPTION_NAME.fullmatch(name):
                return True
        decoded = unquote(value)
        if decoded == value:
            return False
        value = decoded
        if _USERINFO.search(value) or _LOOSE_USERINFO.search(value) or _HTTP_USER.search(value):
            return True
    return False


def _values() -> list[str]:
    """Return the secrets in the environment, the longest first: one may be a part of another."""
    values = []
    for name in os.environ:
        # The value is decoded only where the name asks for it: this runs for every text.
        if name.upper().endswith(_VARIABLES) and len(os.environ[name]) >= SHORTEST_VALUE:
            values.append(os.environ[name])
    return sorted(values, key=len, reverse=True)


def _without(text: str, value: str) -> str:
    """Return a text without a value of the environment, as it is or percent-encoded."""
    for written in (value, quote(value, safe="")):
        text = text.replace(written, MASK)
    return text
