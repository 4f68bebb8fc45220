"""Whether a server answers at an address, found out within seconds.

Libraries try for minutes before they report that nobody answers.
"""

import socket
import threading
import urllib.request
from urllib.parse import urlsplit

from pipeline.core.errors import ConfigError

PATIENCE_SECONDS = 5.0
PORTS = {"http": 80, "https": 443}


def require_web_server(key: str, uri: str) -> None:
    """Check that a server listens at a web address. One behind a proxy is not checked.

    Raises:
        ConfigError: nobody answers, or the address has no host.
    """
    try:
        parts = urlsplit(uri)
        host = parts.hostname
        port = parts.port or PORTS[parts.scheme]
    except (ValueError, KeyError):
        host = None
    if not host:
        raise ConfigError(f"{key}={uri}: not an address; write http://HOST:PORT")
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return
    require_listener(key, uri, host, port)


def require_listener(key: str, shown: str, host: str, port: int) -> None:
    """Check that somebody listens at a port.

    Args:
        key: the setting with the address, for the message.
        shown: its value, for the message.
        host: name or address of the machine.
        port: the port.

    Raises:
        ConfigError: nobody does, or it takes too long.
    """
    problems: list[str] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=PATIENCE_SECONDS).close()
            problems.append("")
        except (OSError, UnicodeError, OverflowError) as error:
            problems.append(getattr(error, "strerror", None) or str(error))

    # Looking up a name has no time limit of its own, so it is left behind if it takes too long.
    thread = threading.Thread(target=connect, daemon=True, name="connect")
    thread.start()
    thread.join(PATIENCE_SECONDS)
    problem = problems[0] if problems else f"no answer within {PATIENCE_SECONDS:.0f} s"
    if problem:
        raise ConfigError(f"{key}={shown}: nobody answers there ({problem})")
