"""Runs in the guest: asks a camera, by pyusb, to be a disk; prints the answers (1: the password was right)."""

import json
import sys

import usb.core

LOGIN, DISK_MODE = 85, 80


def packet(head: str, body: bytes = b"") -> bytes:
    return (bytes.fromhex(head) + body).ljust(64, b"\0")


def main() -> None:
    camera = usb.core.find(idVendor=0x4255, idProduct=0x0001)
    answers = {"serial": camera.serial_number, "ports": list(camera.port_numbers)}
    for password in sys.argv[1:]:
        camera.ctrl_transfer(0x40, LOGIN, 0x0080, 0, packet("a1120012", password.encode()))
        answers[password] = camera.ctrl_transfer(0xC0, LOGIN, 0, 0, 10)[2]
        try:
            camera.ctrl_transfer(0x40, DISK_MODE, 0, 0, packet("a1230023"))
            answers["disk mode after"] = password
        except usb.core.USBError as error:
            answers["refused"] = error.strerror
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
