"""A machine that does not boot says why and leaves nothing."""

from pathlib import Path

import pytest

from dockwarden.simulators.vm.errors import VmError
from dockwarden.simulators.vm.qemu import booted

pytestmark = pytest.mark.vm


def test_a_boot_that_fails_shows_what_the_console_printed_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(VmError) as caught, booted(guest_module="dockwarden.simulators.vm.nowhere"):
        raise AssertionError("it booted")
    assert caught.value.code == "no-boot"
    assert "No module named dockwarden.simulators.vm.nowhere" in caught.value.what
    assert "the guest ended with 1" in caught.value.what
    assert list(tmp_path.iterdir()) == []
