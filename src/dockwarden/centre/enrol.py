"""Setting the centre up, and taking stations in: keys, the authority, the broker's files."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dockwarden.centre import certificates
from dockwarden.centre.certificates import Pair
from dockwarden.centre.settings import Settings
from dockwarden.centre.store.ocfl import make_store
from dockwarden.durable.files import Files, make_folder, write_durably
from dockwarden.evidence.notes import SigningKey
from dockwarden.service.errors import ServiceError
from dockwarden.service.setup import user
from dockwarden.wire import enrolment
from dockwarden.wire.topics import acl_lines

KEY = "centre.seed"
BROKER_CONFIG = "mosquitto.conf"

_MOSQUITTO = """\
user {user}
listener {port} {address}
cafile {folder}/ca.crt
certfile {folder}/server.crt
keyfile {folder}/server.key
acl_file {folder}/acl
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
set_tcp_nodelay true
persistence true
persistence_location {folder}/
persistent_client_expiration 1h
max_queued_messages 10000
max_queued_bytes 33554432
max_packet_size 2000000
log_dest stderr
log_type error
log_type warning
"""
"""What waits for a client that is away is bounded: nobody relies on it (docs/formats/wire.md)."""


@dataclass(frozen=True)
class Folders:
    """The layout below the centre's root."""

    root: Path

    @property
    def keys(self) -> Path:
        """Keys and certificates."""
        return self.root / "keys"

    @property
    def broker(self) -> Path:
        """What mosquitto reads and keeps."""
        return self.root / "broker"

    @property
    def database(self) -> Path:
        """The catalogue."""
        return self.root / "catalogue.sqlite"

    @property
    def store(self) -> Path:
        """The OCFL storage root."""
        return self.root / "store"

    @property
    def incoming(self) -> Path:
        """What is being received."""
        return self.root / "incoming"

    @property
    def derivatives(self) -> Path:
        """Previews and sheets."""
        return self.root / "derivatives"

    @property
    def packages(self) -> Path:
        """Packages on their way to who asked for them; emptied at every start."""
        return self.root / "packages"

    @property
    def socket(self) -> Path:
        """The running centre's local door."""
        return self.root / "centre.sock"

    def make(self, files: Files) -> None:
        """Make what is missing; raises DurableError."""
        for path in (self.keys, self.broker, self.incoming, self.derivatives, self.packages):
            make_folder(files, path)


def setup(settings: Settings, files: Files, now: datetime) -> Path:
    """Make keys, authority and the broker's files where they are missing; returns the broker's configuration.

    Run again, it makes what the settings say by now: the configuration, and the broker's certificate where the host
    is another one or the end is near. All belongs to the user who runs this; started as root, mosquitto becomes that
    user.

    The configuration listens on loopback unless the broker's host is a name that other machines reach it by: then
    it listens everywhere, with client certificates required. Raises DurableError.
    """
    folders = Folders(settings.root)
    folders.make(files)
    keys, broker = folders.keys, folders.broker
    if not (keys / KEY).exists():
        write_durably(files, keys / KEY, SigningKey.generate(settings.centre).seed.hex().encode() + b"\n", 0o600)
    _pair_once(files, keys / "ca", lambda: certificates.new_authority(settings.centre, now))
    host = settings.broker.host
    server = broker / "server.crt"
    if not (server.exists() and certificates.serves(server.read_bytes(), host, now)):
        _write_pair(files, server, certificates.issue_server(authority(folders), host, now))
    _pair_once(files, keys / "tls", lambda: _client_pair(folders, settings.centre, now))
    local = host in ("localhost", "127.0.0.1", "::1")
    config = broker_config(broker.absolute(), settings.broker.port, "127.0.0.1" if local else "")
    make_store(folders.store, files)
    write_durably(files, broker / "ca.crt", (keys / "ca.crt").read_bytes(), 0o644)
    write_durably(files, broker / "acl", "\n".join(acl_lines(settings.centre)).encode() + b"\n", 0o600)
    write_durably(files, broker / BROKER_CONFIG, config.encode(), 0o600)
    return broker / BROKER_CONFIG


def broker_config(folder: Path, port: int, address: str) -> str:
    """What mosquitto reads to serve this design from `folder`; an empty `address` is every one of this machine."""
    return _MOSQUITTO.format(user=user(), port=port, address=address, folder=folder).replace(" \n", "\n")


def centre_key(settings: Settings) -> SigningKey:
    """The centre's key; raises ServiceError where there is none."""
    path = Folders(settings.root).keys / KEY
    try:
        return SigningKey(settings.centre, bytes.fromhex(path.read_text("ascii").strip()))
    except (OSError, ValueError) as error:
        raise ServiceError(
            "not-set-up", f"no key of this centre: {type(error).__name__}", str(path), "Run dockwarden-centre setup."
        ) from error


def authority(folders: Folders) -> Pair:
    """The centre's certificate authority."""
    return Pair((folders.keys / "ca.crt").read_bytes(), (folders.keys / "ca.key").read_bytes())


def read_request(settings: Settings, request: bytes, fingerprint: str) -> enrolment.Request:
    """Check a station's request, whose key a person has compared by `fingerprint` (SHA-256, hexadecimal, colons and
    spaces do not count). Raises MalformedError, SignatureError, ServiceError."""
    asked = enrolment.open_request(request)
    if asked.station == settings.centre:
        raise ServiceError("name", "a station may not bear the centre's name", asked.station, "Name it otherwise.")
    if not enrolment.is_fingerprint(asked.key, fingerprint):
        what = f"the request comes from another key: {asked.key.fingerprint}"
        do = "Compare the fingerprint that the station's screen shows."
        raise ServiceError("fingerprint", what, asked.station, do)
    return asked


def answer_request(settings: Settings, asked: enrolment.Request) -> bytes:
    """Make the centre's answer to a checked request; the caller enters the station in the catalogue.

    Raises MalformedError where its certificate request is none.
    """
    folders = Folders(settings.root)
    pair = authority(folders)
    signed = certificates.issue_client(pair, asked.station, asked.certificate_request.encode(), datetime.now(UTC))
    key = centre_key(settings)
    answer = enrolment.Answer(
        station=asked.station,
        station_key=asked.key,
        centre_key=key.verifier,
        certificate=signed.decode(),
        authority=pair.certificate.decode(),
        broker_host=settings.broker.host,
        broker_port=settings.broker.port,
    )
    return enrolment.sign_answer(answer, key)


def _pair_once(files: Files, stem: Path, make: Callable[[], Pair]) -> None:
    """Make a pair unless it is there; the certificate comes last and counts."""
    if not stem.with_suffix(".crt").exists():
        _write_pair(files, stem, make())


def _write_pair(files: Files, stem: Path, pair: Pair) -> None:
    write_durably(files, stem.with_suffix(".key"), pair.key, 0o600)
    write_durably(files, stem.with_suffix(".crt"), pair.certificate, 0o644)


def _client_pair(folders: Folders, name: str, now: datetime) -> Pair:
    key = enrolment.new_tls_key()
    request = enrolment.certificate_request(name, key)
    return Pair(certificates.issue_client(authority(folders), name, request, now), key)
