"""What the machine boots: Debian's kernel, unpacked, and a small initramfs that mounts the host's root below a tmpfs.

The guest's root is the host's root, read-only by 9p, with an overlay in memory above it: the guest sees this checkout
and its .venv under the same paths, and nothing that it writes reaches the host.
"""

import gzip
import lzma
import shlex
import struct
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dockwarden.simulators.vm.errors import VmError

BOOT = Path("/boot")
MODULES = Path("/lib/modules")
BUSYBOX = Path("/bin/busybox")
_FIRST_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
_MAGIC = b"HdrS"
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # modprobe is not on a user's own

# Runs as the first process. Every word that it prints reaches the console, which a failed boot shows.
_INIT = r"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
fail() { echo "initramfs: $1"; poweroff -f; }
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in /modules/*; do insmod "$module" || fail "cannot load $module"; done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=524288,cache=loose host /lower || fail "cannot mount the host"
mount -t tmpfs -o size=75% tmpfs /upper; mkdir /upper/files /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /new || fail "no overlay"
mkdir -p /new/proc /new/sys /new/dev /new/run
for folder in proc sys dev; do mount --move /$folder /new/$folder; done
mount -t tmpfs -o mode=755 tmpfs /new/run
mkdir -p /new/run/share
mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=none share /new/run/share || fail "no shared folder"
exec switch_root /new /bin/sh -c @START@
"""

# Where the command ends QEMU ends too (it is told not to reboot), without a panic's pages on the console.
_AFTERWARDS = '; echo "the guest ended with $?"; sleep 0.2; echo b > /proc/sysrq-trigger'


@dataclass(frozen=True)
class Kernel:
    """An installed kernel: its image and the version that names its modules."""

    image: Path
    version: str


def newest_kernel(boot: Path = BOOT, modules: Path = MODULES) -> Kernel:
    """The newest kernel of `boot` whose modules are there. Raises VmError `no-kernel`."""
    found = [
        Kernel(image, version)
        for image in boot.glob("vmlinuz-*")
        if (modules / (version := image.name.removeprefix("vmlinuz-")) / "modules.dep").is_file()
    ]
    if not found:
        raise VmError("no-kernel", "no kernel with its modules is installed", f"{boot}, {modules}")
    return max(found, key=lambda kernel: _by_number(kernel.version))


def _by_number(version: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdigit() else -1, part) for part in version.replace("-", ".").split(".")]


def unpacked(image: bytes) -> bytes:
    """The ELF kernel inside a bzImage (the kernel's boot protocol, 2.08), or the image itself where it is no XZ.

    QEMU starts an ELF by PVH; the guest then need not unpack it under emulation, which takes 5 s.
    """
    if len(image) < 0x250 or image[0x202:0x206] != _MAGIC:
        return image
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = ((image[0x1F1] or 4) + 1) * 512 + offset
    try:
        inner = lzma.LZMADecompressor(format=lzma.FORMAT_XZ).decompress(image[start : start + length])
    except lzma.LZMAError:
        return image
    return inner if inner.startswith(b"\x7fELF") else image


def initramfs(kernel: Kernel, start: str) -> bytes:
    """A packed initramfs for `kernel`; `start` is the shell command that runs on the overlay, until it ends.

    Raises VmError `no-kernel` where busybox, modprobe or a module is missing.
    """
    files = {
        "init": _INIT.replace("@START@", shlex.quote(start + _AFTERWARDS)).encode(),
        "bin/busybox": _read(BUSYBOX),
    }
    for number, path in enumerate(_needed(kernel)):
        files[f"modules/{number:02}-{path.name.partition('.')[0]}.ko"] = _plain_module(path)
    return gzip.compress(cpio(files, ("bin", "modules", "proc", "sys", "dev", "lower", "upper", "new")), 1)


def cpio(files: Mapping[str, bytes], folders: tuple[str, ...]) -> bytes:
    """An archive in the form that the kernel unpacks ("newc", initramfs-buffer-format.rst); all files executable."""
    entries = [_entry(name, 0o040755, b"") for name in folders]
    entries += [_entry(name, 0o100755, data) for name, data in files.items()]
    return b"".join([*entries, _entry("TRAILER!!!", 0, b"")])


def _entry(name: str, mode: int, data: bytes) -> bytes:
    raw = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + raw
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def _needed(kernel: Kernel) -> Iterator[Path]:
    """The modules that reach the host's root, each after what it needs."""
    seen = set()
    for module in _FIRST_MODULES:
        command = ["modprobe", "--set-version", kernel.version, "--show-depends", module]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": _PATH})
        except (OSError, subprocess.CalledProcessError) as error:
            raise VmError("no-kernel", f"modprobe does not know the module {module}", kernel.version) from error
        for line in ran.stdout.splitlines():
            kind, _, rest = line.partition(" ")
            path = rest.split(" ")[0]
            if kind == "insmod" and path not in seen:
                seen.add(path)
                yield Path(path)


def _plain_module(path: Path) -> bytes:
    data = _read(path)
    return lzma.decompress(data) if path.suffix == ".xz" else data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise VmError("no-kernel", f"cannot be read: {error.strerror}", str(path)) from error
