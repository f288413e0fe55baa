"""Mutual TLS for the link: each side shows its certificate and checks the other's."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from dockwarden.wire.errors import LocalError


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
    """A TLS socket that closes itself after a failed handshake: paho would leave it open."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise
