"""What restic 0.14 really printed, and what a person is told."""

import pytest

from dockwarden.offsite.errors import explain

WHERE = "rest:http://127.0.0.1:8000/st-01/"
ASK = f"Is there a repository at the following location?\n{WHERE}"
RETRY = (
    "Load(<data/1bac951f2c>, 44, 0) returned error, retrying after 552.330144ms: <data/1bac951f2c> does not exist\n"
)

SEEN = [
    ("no-repository", f"Fatal: unable to open config file: <config/> does not exist\n{ASK}"),
    ("wrong-password", "Fatal: wrong password or no key found"),
    (
        "locked",
        "unable to create lock in backend: repository is already locked exclusively by PID 28205 on vm by root"
        "\nlock was created at 2026-11-24 20:11:06 (341.028694ms ago)\nstorage ID 6576fd45",
    ),
    (
        "unreachable",
        'Fatal: unable to open config file: client.Head: Head "http://127.0.0.1:1/st1/config": dial tcp 127.0.0.1:1: '
        f"connect: connection refused\n{ASK}",
    ),
    (
        "unreachable",
        "Fatal: create repository at rest:http://x.invalid/ failed: Post: dial tcp: lookup x.invalid: no such host",
    ),
    ("refused", f"Fatal: unable to open config file: unexpected HTTP response (401): 401 Unauthorized\n{ASK}"),
    ("refused", "blob not removed, server response: 403 Forbidden (403)"),
    ("damaged", "cannot dump file: decrypting blob 6128e07f failed: ciphertext verification failed"),
    ("damaged", f"{RETRY}{RETRY}cannot dump file: ReadFull(<data/1bac951f2c>): <data/1bac951f2c> does not exist"),
    ("damaged", "cannot dump file: ReadFull(<data/1bac951f2c>): unexpected EOF"),
    ("damaged", 'loading tree for snapshot "be2b48f7" failed: id 0857a7f8 not found in repository'),
    ("damaged", "Fatal: load <index/6679a9cb70>: invalid data returned"),
    ("damaged", "Fatal: config or key 7645569c is damaged: ciphertext verification failed"),
    (
        "damaged",
        "ignoring error for /v/ab/r/original: ciphertext verification failed\nFatal: There were 1 errors",
    ),
    ("damaged", "Pack ID does not match, want 1bac951f, got 9574f890\nFatal: repository contains errors"),
    ("not-found", 'cannot dump file: path "/vault/zz" not found in snapshot'),
    ("not-found", 'invalid id "abcdef": no matching ID found for prefix "abcdef"'),
    ("no-restic", "setpriv: failed to execute nowhere: No such file or directory"),
    ("disk-full", "Fatal: unable to save snapshot: write /cache/restic-temp: no space left on device"),
    (
        "server-failed",  # a full disk behind an append-only server
        "Save(<data/1bac951f2c>) returned error, retrying after 552.33ms: server response unexpected: 500 Internal "
        "Server Error (500)\nFatal: unable to save snapshot: server response unexpected: 403 Forbidden (403)",
    ),
    ("failed", "something that no one has seen"),
]


@pytest.mark.parametrize(("code", "words"), SEEN)
def test_restics_words_become_a_code_and_something_to_do(code: str, words: str) -> None:
    error = explain(1, words.splitlines(keepends=True), WHERE)
    assert error.code == code
    assert error.where == WHERE
    assert all(error.to_object().values())


def test_what_restic_tries_again_is_not_the_reason_when_it_names_another() -> None:
    assert explain(1, [RETRY, "Fatal: wrong password or no key found"], WHERE).code == "wrong-password"
    assert explain(1, [RETRY], WHERE).code == "damaged"


def test_newer_restic_says_it_by_exit_code() -> None:
    assert [explain(code, [], WHERE).code for code in (10, 11, 12)] == ["no-repository", "locked", "wrong-password"]
    assert "exit code 7" in explain(7, [], WHERE).what


def test_credentials_do_not_get_into_what_is_said() -> None:
    error = explain(1, ['Head "https://u:geheim@host/x": dial tcp: no such host'], WHERE)
    assert "geheim" not in str(error)
    assert "https://host/x" in error.what
