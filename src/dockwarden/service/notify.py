"""sd_notify: tells systemd how a service is (systemd's sd_notify(3)); silent where nobody listens."""

import os
import socket
import threading
from collections.abc import Callable

from dockwarden.service.errors import ServiceError

LOOK_S = 5.0
"""How often a service looks whether its parts still work."""


def _send(message: str) -> bool:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    target = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto(message.encode(), target)
    except OSError:  # the service's work does not depend on who watches it
        return False
    return True


def ready(status: str = "") -> bool:
    """Start-up is done. True when systemd was told."""
    return _send(f"READY=1\nSTATUS={_line(status)}" if status else "READY=1")


def status(text: str) -> bool:
    """One line for ``systemctl status``; no personal data."""
    return _send(f"STATUS={_line(text)}")


def watchdog() -> bool:
    """The service is alive; call it from the loop that would hang, at least every `watchdog_interval`."""
    return _send("WATCHDOG=1")


def stopping() -> bool:
    """Shutdown has begun."""
    return _send("STOPPING=1")


def watchdog_interval() -> float | None:
    """Seconds between two calls of `watchdog`: half of what systemd allows; None when it does not watch us."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    allowed = os.environ.get("WATCHDOG_USEC", "")
    return int(allowed) / 2_000_000 if allowed.isdigit() and int(allowed) > 0 else None


def watch(alive: Callable[[], bool], stop: threading.Event, where: str, look_s: float = LOOK_S) -> None:
    """Tell systemd that the service is alive, until `stop`.

    Raises ServiceError `part-died` where a part is not `alive` any more: a service with a dead part ends, so that its
    manager starts it anew. `where` names the service.
    """
    while not stop.wait(min(watchdog_interval() or look_s, look_s)):
        if not alive():
            raise ServiceError(
                "part-died", "a part of the service has died", where, "It is started again; look into its log."
            )
        watchdog()


def _line(text: str) -> str:
    return " ".join(text.split())
