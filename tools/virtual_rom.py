"""Gives the virtual board a romfs partition before its boot.py runs, as a port with one does in C.

MICROIPA_ROM names a file of the partition's size. The unix port has no flash to map, so its bytes lie in the heap,
which `VirtualBoard` makes larger by exactly these; MicroPython's own VfsRom then runs code in them in place.
"""

import os
import sys

import vfs

_FILE = os.getenv("MICROIPA_ROM")
_WRITE_BYTES = 4
_BLOCK = 4096


class Vfs:
    """The module vfs, with the functions that unix lacks; its constants are those of extmod/vfs_rom_ioctl."""

    mount = vfs.mount
    umount = vfs.umount
    VfsRom = vfs.VfsRom
    VfsLfs2 = vfs.VfsLfs2
    partition = bytearray(os.stat(_FILE)[6])

    @staticmethod
    def rom_ioctl(what, number=0, *more):
        if what == 1:
            return 1  # partition
        if what == 2:
            return memoryview(Vfs.partition)
        if what == 3:  # erase
            return _WRITE_BYTES
        if what == 4:
            start, data = more
            Vfs.partition[start : start + len(data)] = data
        if what == 5:  # all is written
            with open(_FILE, "wb") as file:
                file.write(Vfs.partition)
        return _BLOCK if what == 6 else 0


with open(_FILE, "rb") as file:
    file.readinto(Vfs.partition)
sys.modules["vfs"] = Vfs
try:
    vfs.mount(vfs.VfsRom(Vfs.partition), "/rom")
    sys.path.append("/rom")
except OSError:
    pass  # nothing is in it yet
