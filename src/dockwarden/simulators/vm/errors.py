"""What goes wrong with the virtual machine, in the one shape of errors."""

from typing import Literal, TypeAlias

from dockwarden.service.errors import ServiceError

Code: TypeAlias = Literal["no-kernel", "no-qemu", "no-boot", "no-answer", "refused", "bad-device", "no-image"]

_DO: dict[Code, str] = {
    "no-kernel": "Install what `make test` installs: linux-image-amd64, busybox-static, kmod, udev.",
    "no-qemu": "Install qemu-system-x86.",
    "no-boot": "Look at the last words of the console above; give the machine more memory or time.",
    "no-answer": "Look at `log`; the guest may be busy or broken. Boot it again.",
    "refused": "Look at the device's port and description; `log` shows what the kernel said.",
    "bad-device": "Correct the description; docs/testing/vm.md lists the kinds and faults.",
    "no-image": "Install dosfstools, exfatprogs and mtools, and check the sizes.",
}


class VmError(ServiceError):
    """The machine does not boot, does not answer, or refuses what it was asked; `where` names the part."""

    def __init__(self, code: Code, what: str, where: str) -> None:
        super().__init__(code, what, where, _DO[code])
