"""Free ports of this machine for the servers that tests start."""

import socket


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on; all are held until all are known, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    for opened in sockets:
        opened.bind(("127.0.0.1", 0))
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports
