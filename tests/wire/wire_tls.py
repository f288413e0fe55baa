"""How the tests of the link get in: the TLS files that a broker gives to a name."""

from dockwarden.simulators.broker import Broker
from dockwarden.wire.tls import TlsFiles


def tls_files(broker: Broker, name: str) -> TlsFiles:
    """The files with which `name` is let in by a broker."""
    made = broker.client(name)
    return TlsFiles(made.authority, made.certificate, made.key)
