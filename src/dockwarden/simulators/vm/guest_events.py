"""Runs in the guest: hears udev through pyudev, as the agent does, and keeps every event for the host."""

import threading
import time
from collections.abc import Mapping

import pyudev

SUBSYSTEMS = ("usb", "block", "hid", "input", "net")


class Recorder:
    """Keeps all events since it began, each as its properties; an event's place in the list is its number."""

    def __init__(self) -> None:
        self._events: list[dict[str, str]] = []
        self._news = threading.Condition()
        monitor = pyudev.Monitor.from_netlink(pyudev.Context())
        for subsystem in SUBSYSTEMS:
            monitor.filter_by(subsystem)
        monitor.set_receive_buffer_size(8 << 20)
        monitor.start()
        self._thread = threading.Thread(target=self._listen, args=(monitor,), name="udev", daemon=True)
        self._thread.start()

    def answer(self, since: int, match: Mapping[str, str], wait_s: float) -> dict[str, object]:
        """Events numbered `since` and up that have all properties of `match`; waits up to `wait_s` for the first."""
        ends = time.monotonic() + wait_s
        with self._news:
            while not (found := self._matching(since, match)) and (left := ends - time.monotonic()) > 0:
                self._news.wait(left)
            return {"events": found, "next": len(self._events)}

    def _matching(self, since: int, match: Mapping[str, str]) -> list[dict[str, str]]:
        return [event for event in self._events[since:] if match.items() <= event.items()]

    def _listen(self, monitor: pyudev.Monitor) -> None:
        for device in iter(monitor.poll, None):
            event = {str(name): str(value) for name, value in device.properties.items()}
            with self._news:
                self._events.append({**event, "ACTION": str(device.action)})
                self._news.notify_all()
