"""A cable between two network namespaces: a TUN device at each end, and two threads that carry packets until it is cut."""

import ctypes
import fcntl
import os
import struct
import subprocess
import threading

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
PACKET = 65536


class Cable:
    """From here to the network of a process. What is sent after `cut` is lost without a word."""

    def __init__(self, near: str, far: str, far_pid: int) -> None:
        self._cut = threading.Event()
        self._far_end = -1
        near_end = _plug("near0")
        maker = threading.Thread(target=self._plug_far, args=(far_pid,))  # it stays in that network
        maker.start()
        maker.join()
        assert self._far_end >= 0, "no device in the other network"
        for name, address, enter in (
            ("near0", near, []),
            ("far0", far, ["nsenter", "-t", str(far_pid), "-n"]),
        ):
            subprocess.run([*enter, "ip", "link", "set", name, "up"], check=True)
            subprocess.run([*enter, "ip", "addr", "add", f"{address}/24", "dev", name], check=True)
        for ends in ((near_end, self._far_end), (self._far_end, near_end)):
            threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def cut(self) -> None:
        """The other machine is gone."""
        self._cut.set()

    def _plug_far(self, pid: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        if libc.setns(network, CLONE_NEWNET) == 0:
            self._far_end = _plug("far0")

    def _carry(self, source: int, target: int) -> None:
        while True:
            packet = os.read(source, PACKET)
            if not self._cut.is_set():
                os.write(target, packet)


def _plug(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


if __name__ == "__main__":
    _plug("probe0")  # whether this machine has such devices
