"""The host's line to QEMU: QMP, one command at a time (QEMU's docs/interop/qmp-spec)."""

import json
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from dockwarden.simulators.vm.errors import VmError

_ANSWER_S = 60.0


class Qmp:
    """A connection to a running QEMU. Raises VmError: `refused` with QEMU's words, `no-answer`."""

    def __init__(self, place: Path) -> None:
        self._line = socket.socket(socket.AF_UNIX)
        self._line.settimeout(_ANSWER_S)
        self._lock = threading.Lock()
        self._events: list[dict[str, Any]] = []
        try:
            self._line.connect(str(place))
            self._lines: IO[bytes] = self._line.makefile("rb")
            self._read()
            self.do("qmp_capabilities")
        except BaseException:
            self._line.close()
            raise

    def do(self, command: str, **arguments: Any) -> Any:
        """Run a command and return its answer; `_` in a name stands for `-`."""
        given = {name.replace("_", "-"): value for name, value in arguments.items() if value is not None}
        with self._lock:
            try:
                self._line.sendall(json.dumps({"execute": command, "arguments": given}).encode() + b"\n")
            except OSError as error:
                raise VmError("no-answer", "QEMU is gone", command) from error
            while True:
                answer = self._read()
                if "event" in answer:
                    self._events.append(answer)
                elif "error" in answer:
                    raise VmError("refused", str(answer["error"].get("desc", answer)), command)
                else:
                    return answer["return"]

    def await_deleted(self, device: str, wait_s: float = 20.0) -> None:
        """Wait until the guest has let go of an unplugged device."""
        ends = time.monotonic() + wait_s
        while not any(
            event["event"] == "DEVICE_DELETED" and event.get("data", {}).get("device") == device
            for event in self._events
        ):
            if time.monotonic() > ends:
                raise VmError("no-answer", "the guest does not let go of the device", device)
            self.do("query-status")  # its answer brings the events that came before it
            time.sleep(0.02)
        self._events.clear()

    def close(self) -> None:
        """Let go of the line."""
        with suppress(OSError):
            self._lines.close()
        self._line.close()

    def _read(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except OSError as error:
            raise VmError("no-answer", "QEMU does not answer", "QMP") from error
        if not line:
            raise VmError("no-answer", "QEMU is gone", "QMP")
        answer: dict[str, Any] = json.loads(line)
        return answer
