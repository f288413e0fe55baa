"""Mutual TLS for the link: each side shows its certificate and checks the other's."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from dockwarden.wire.errors import LocalError

_RECORD = 16384
"""Bytes of the largest TLS record (RFC 8446 section 5.1)."""


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: the authority that signed the broker's certificate, our own certificate, and its key.

    `check_hostname`: the broker's certificate must name the host (or IP address) that we connect to.
    """

    authority: Path
    certificate: Path
    key: Path
    check_hostname: bool = True


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """A context that trusts `authority` alone, shows our certificate, and speaks TLS 1.2 or newer.

    Raises LocalError where a file is missing or unfit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = files.check_hostname
    try:
        context.load_verify_locations(cafile=files.authority)
        context.load_cert_chain(files.certificate, files.key)
    except OSError as error:
        what = f"a certificate or key cannot be loaded ({type(error).__name__})"
        where = str(files.certificate.parent)
        raise LocalError("tls-files", what, where, "Enrol again, or restore the files.") from error
    context.sslsocket_class = _Socket
    return context


class _Socket(ssl.SSLSocket):
    """A TLS socket that closes itself after a failed handshake, and moves all it can in one call.

    OpenSSL moves one record a call; paho copies the whole rest of a message for each call, which for messages of
    half a megabyte costs more than the encryption.
    """

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise

    def send(self, data: "bytes | bytearray | memoryview", flags: int = 0) -> int:  # type: ignore[override]
        """Send records until all is sent or the socket takes no more (non-blocking); the number of bytes sent."""
        view, sent = memoryview(data), 0
        try:
            while sent < len(view):
                sent += super().send(view[sent:], flags)
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            if not sent:
                raise
        return sent

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Read records until `buflen` bytes are there or none is waiting; b"" at the end of the stream."""
        parts: list[bytes] = []
        left = buflen
        try:
            while left:
                part = super().recv(min(left, _RECORD), flags)
                if not part:
                    break
                parts.append(part)
                left -= len(part)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not parts:
                raise
        return parts[0] if len(parts) == 1 else b"".join(parts)
