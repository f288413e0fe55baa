"""What a person does about an off-site copy that is not whole: restic cannot mend it from here by itself."""

_REPAIR = (
    "Restic takes what its index names for there, and an append-only server lets nobody correct the index from here: "
    "repair it at the server (restic rebuild-index), or begin a new repository (backup --new-repository). "
    "The next backup then sends the record again."
)
_VAULT = "Look at the record in the vault and at the station's disk: what lies there is not what was sealed."
_AGAIN = "The next backup sends it again. Find out who took it away: nobody here does."

_DIFFERS = f"First look whether the vault's own copy is what was sealed. Where it is: {_REPAIR}"

_DO = {
    "differs": _DIFFERS,
    "vault": _VAULT,
    "unread": _VAULT,
    "snapshot-gone": _AGAIN,
    "not-found": _AGAIN,
    "log": "Run the backup again; where it stays so, look at the off-site disk.",
}


def what_to_do(code: str) -> str:
    """What a person should do about a record, or the log's copy, that failed at a backup or a drill."""
    return _DO.get(code, _REPAIR)
