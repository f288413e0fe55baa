"""The simulated off-site server starts on a free port, and leaves nothing behind."""

from pathlib import Path

import pytest

from dockwarden.simulators.offsite_server import serve_restic

pytestmark = pytest.mark.system


def test_two_servers_run_side_by_side_and_end_with_their_blocks(tmp_path: Path) -> None:
    with serve_restic(tmp_path) as one, serve_restic(tmp_path) as other:
        assert one.url != other.url
        assert one.repository("r", "u:p") == f"rest:{one.url.replace('://', '://u:p@')}r/"
    assert not Path(f"/proc/{one.pid}").exists()
    assert not Path(f"/proc/{other.pid}").exists()


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with serve_restic(tmp_path) as one:
        port = int(one.url.strip("/").rpartition(":")[2])
        with pytest.raises(RuntimeError, match="address already in use"), serve_restic(tmp_path, port=port):
            pass
