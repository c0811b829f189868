"""MicroPython, in the REPL of a board while `microipa flash` writes to it: files, their hashes, what the board is."""

import os


def _kind():
    import gc
    import sys

    try:
        from hashlib import sha256  # noqa: F401

        hashes = True
    except ImportError:
        hashes = False
    try:
        import tls

        dtls = hasattr(tls, "PROTOCOL_DTLS_CLIENT")
    except ImportError:
        dtls = False
    gc.collect()
    what = sys.implementation
    machine = getattr(what, "_machine", "")
    mpy = getattr(what, "_mpy", 0) & 255
    word = 8 if getattr(sys, "maxsize", 0) >> 32 else 4
    return what[0], tuple(what[1][:3]), mpy, hashes, dtls, sys.platform, gc.mem_free(), machine, word


def _keep_fed(folder):
    """A watchdog that the board's program has started goes on in the REPL: feed it while we work."""
    try:
        from machine import Timer
    except ImportError:
        return
    import sys

    sys.path.insert(0, folder)
    try:
        from board import Board

        feed = Board().feed
        try:
            timer = Timer(-1)
        except ValueError:  # the ESP32 has numbers only
            timer = Timer(0)
        timer.init(period=2000, callback=lambda _: feed())
    except Exception as error:  # noqa: BLE001 - a board without feed(), or one whose board.py is why we are here
        print("no watchdog to feed:", error)
    sys.path.remove(folder)


def _free():
    stat = os.statvfs(os.getcwd())
    return stat[0] * stat[3], stat[0]


def _read(path, most):
    try:
        with open(path, "rb") as file:
            return file.read(most)
    except OSError:
        return None


def _hash(path):
    from hashlib import sha256

    digest = sha256()
    buf = memoryview(bytearray(512))
    with open(path, "rb") as file:
        while True:
            n = file.readinto(buf)
            if not n:
                return "".join(["{:02x}".format(octet) for octet in digest.digest()])
            digest.update(buf[:n])


def _tree(folder, path=""):
    """Print the path in folder and the hash of every file below it."""
    for entry in os.ilistdir(folder + path):
        name = path + "/" + entry[0]
        if entry[1] & 0x4000:
            _tree(folder, name)
        else:
            print((name[1:], _hash(folder + name)))


def _folders():
    return [entry[0] for entry in os.ilistdir() if entry[1] & 0x4000]


def _make(path):
    """The folder, and those above it."""
    for i in range(len(path) + 1):
        if i == len(path) or path[i] == "/":
            try:
                os.mkdir(path[:i])
            except OSError:
                pass  # is there


def _copy(source, target):
    buf = memoryview(bytearray(512))
    with open(source, "rb") as old, open(target, "wb") as new:
        while True:
            n = old.readinto(buf)
            if not n:
                return
            new.write(buf[:n])


def _remove(path):
    for entry in os.ilistdir(path):
        name = path + "/" + entry[0]
        if entry[1] & 0x4000:
            _remove(name)
        else:
            os.remove(name)
    os.rmdir(path)


def _forget(*paths):
    for path in paths:
        try:
            os.remove(path)
        except OSError:
            pass  # is not there


def _replace(path, text):
    """The old content or the new, whenever the power goes."""
    with open(path + ".new", "w") as file:
        file.write(text)
    os.rename(path + ".new", path)
    if hasattr(os, "sync"):
        os.sync()
