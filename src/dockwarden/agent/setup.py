"""Setting a station up and enrolling it at its centre: keys are made here and never leave (design: security)."""

from dataclasses import dataclass
from pathlib import Path

from dockwarden.agent.settings import Settings
from dockwarden.agent.stores import Folders, read_key, write_key
from dockwarden.durable.files import Files, write_durably
from dockwarden.evidence.notes import SigningKey, VerifierKey
from dockwarden.service.errors import ServiceError
from dockwarden.wire import enrolment

KEY = "station.seed"
TLS_KEY = "tls.key"
TLS_CERTIFICATE = "tls.crt"
AUTHORITY = "ca.crt"
ANSWER = "enrolment.note"
REQUEST = "enrolment-request.note"


@dataclass(frozen=True)
class Enrolled:
    """What an enrolled station knows of its centre; the paths are PEM files."""

    centre_key: VerifierKey
    broker_host: str
    broker_port: int
    certificate: Path
    key: Path
    authority: Path


def make_keys(settings: Settings, files: Files) -> Path:
    """Make folders and keys where they are missing, and the enrolment request; returns the request's file.

    Keys that are there stay: a station's key is what its log rests on. Raises DurableError, ServiceError
    `another-station` where the folder is one of a station of another name.
    """
    folders = Folders(settings.root)
    _check_name(settings)
    folders.make(files)
    if not (folders.keys / KEY).exists():
        write_key(files, folders.keys / KEY, SigningKey.generate(settings.station))
    if not (folders.keys / TLS_KEY).exists():
        write_durably(files, folders.keys / TLS_KEY, enrolment.new_tls_key(), mode=0o600)
    key = station_key(settings)
    asked = enrolment.certificate_request(settings.station, (folders.keys / TLS_KEY).read_bytes())
    request = enrolment.Request(settings.station, key.verifier, asked.decode())
    write_durably(files, settings.root / REQUEST, enrolment.sign_request(request, key))
    return settings.root / REQUEST


def _check_name(settings: Settings) -> None:
    """A key's file does not say whose it is; the request beside it does."""
    path = settings.root / REQUEST
    try:
        found = enrolment.open_request(path.read_bytes()).station
    except (OSError, ValueError):
        return
    if found != settings.station:
        do = "Name the station as it is, or set the new one up in a folder of its own."
        raise ServiceError("another-station", f"the folder is that of the station {found}", str(settings.root), do)


def station_key(settings: Settings) -> SigningKey:
    """The station's key; raises ServiceError where there is none."""
    path = Folders(settings.root).keys / KEY
    try:
        return read_key(path, settings.station)
    except (OSError, ValueError) as error:
        raise ServiceError(
            "not-set-up",
            f"no key of this station: {type(error).__name__}",
            str(path),
            "Run dockwarden-agent setup; where that was done, check that the disk is mounted and who runs this.",
        ) from error


def accept(settings: Settings, files: Files, answer: bytes, fingerprint: str) -> Enrolled:
    """Take the centre's answer, whose key a person has compared by `fingerprint` (SHA-256, hexadecimal).

    Raises ServiceError where it is another key or another station's answer; MalformedError, SignatureError.
    """
    folders = Folders(settings.root)
    key = enrolment.centre_key_of(answer)
    if not enrolment.is_fingerprint(key, fingerprint):
        what = f"the answer comes from another key: {key.fingerprint}" if fingerprint else "no fingerprint was given"
        do = "Give --fingerprint, as the centre's screen shows it."
        raise ServiceError("fingerprint", what, "the enrolment answer", do)
    opened = enrolment.open_answer(answer, [key])
    if opened.station_key != station_key(settings).verifier:
        raise ServiceError("other-station", "the answer is for another station", "the answer", "Take the right file.")
    write_durably(files, folders.keys / TLS_CERTIFICATE, opened.certificate.encode())
    write_durably(files, folders.keys / AUTHORITY, opened.authority.encode())
    # The answer comes last: a station counts as enrolled when it is there.
    write_durably(files, folders.keys / ANSWER, answer)
    return read_enrolment(folders)


def has_run(settings: Settings) -> bool:
    """Whether the station has a ledger: it begins at the first run."""
    return Folders(settings.root).ledger.exists()


def is_enrolled(folders: Folders) -> bool:
    """Whether the station has taken a centre's answer."""
    return (folders.keys / ANSWER).exists()


def read_enrolment(folders: Folders) -> Enrolled:
    """What the accepted answer says."""
    answer = (folders.keys / ANSWER).read_bytes()
    opened = enrolment.open_answer(answer, [enrolment.centre_key_of(answer)])
    return Enrolled(
        opened.centre_key,
        opened.broker_host,
        opened.broker_port,
        folders.keys / TLS_CERTIFICATE,
        folders.keys / TLS_KEY,
        folders.keys / AUTHORITY,
    )
