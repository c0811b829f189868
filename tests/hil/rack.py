"""A rack: board, modem, eUICC and network of others, to which a bench has nothing but a serial port.

    python tests/hil/rack.py .lab/rack --by rfc2217                      # up until its stdin ends
    python tests/hil/rack.py .lab/rack --by rfc2217 --suite -k polling   # and runs the suite on it: make hil-rack

The board is MicroPython's unix port behind a pty, here of somebody else: in a process of its own, with an SM-DP+ and
operators of its own. Its network leads coaps://bench.example:15684 to 127.0.0.1:15684, where the bench's eIM is. The
card is under the CI of that bench, as a test card would be, or with --foreign under one of its own. Once all stands it
tells in a line of JSON what a bench.toml wants to know, and writes one: .lab/rack/bench.toml.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import socket
import sys
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from microipa.board import VirtualBoard

BENCH = "bench.example"
WAYS = ("pty", "rfc2217", "socket")
_CODES = 3


@dataclass(frozen=True)
class Told:
    """What the owner of a rack tells: the board's port, the card's CI (path), codes of profiles, the power switch."""

    port: str
    ci: str
    profiles: list[str]
    power_on: str
    power_off: str
    modem: str


class Gateway:
    """Puts a pty on a TCP port of loopback, one client at a time, as ser2net and the terminal servers of racks do."""

    def __init__(self, pty: str, rfc2217: bool) -> None:
        self._pty, self._rfc2217 = pty, rfc2217
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{'rfc2217' if rfc2217 else 'socket'}://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, name="gateway", daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # which ends accept()
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with client:
                    self._carry(client)

    def _carry(self, client: socket.socket) -> None:
        import serial
        from serial.rfc2217 import PortManager

        class Line(serial.Serial):  # type: ignore[misc]
            """A pty has no modem lines, which PortManager wants to know."""

            cts = dsr = cd = True
            ri = False

            def _update_dtr_state(self) -> None: ...
            def _update_rts_state(self) -> None: ...

        class Client:
            def write(self, data: bytes) -> None:
                client.sendall(data)

        with Line(self._pty, timeout=0.05) as line:
            manager = PortManager(line, Client()) if self._rfc2217 else None
            ended = threading.Event()

            def out() -> None:
                while not ended.is_set():
                    with contextlib.suppress(OSError):  # what it was about to read was purged; or nobody listens
                        data = line.read(1) + line.read(line.in_waiting)
                        client.sendall(b"".join(manager.escape(data)) if manager else data)

            reading = threading.Thread(target=out, name="gateway out")
            reading.start()
            with contextlib.suppress(OSError):
                while data := client.recv(4096):
                    line.write(b"".join(manager.filter(data)) if manager else data)
            ended.set()
            reading.join()


class Switch:
    """The socket on the wall: ``rack.py --switch PORT on|off`` is its button."""

    def __init__(self, board: VirtualBoard) -> None:
        self._board = board

    async def start(self) -> int:
        server = await asyncio.start_server(self._pressed, "127.0.0.1", 0)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _pressed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readline() == b"off\n":
            self._board.kill()
        elif not self._board.running:
            await self._board.start()
        writer.write(b"done\n")
        writer.close()


def press(port: int, state: str) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as wall:
        wall.sendall(state.encode() + b"\n")
        if wall.recv(16) != b"done\n":
            raise SystemExit("the switch does not answer")


def place(name: str, port: str, eim_port: int, **more: object) -> str:
    """One in a bench.toml."""
    keys = {"board": "virtual", "port": port, "eim_url": f"coaps://{BENCH}:{eim_port}", "eim_port": eim_port, **more}
    return f"[{name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in keys.items())


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    return json.dumps(value)


@contextlib.asynccontextmanager
async def rack(folder: Path, *, eim_port: int, by: str = "pty", family: str = "bg95", heap: str = "192K",
               pki: Path | None = None, dtls: bool = True) -> Any:
    """``pki``: of the card, in place of one of the rack's own. ``dtls``: what the board's `tls` can. Yields Told."""
    from microipa.board import VirtualBoard
    from microipa.lab import COAPS_PORT, Lab
    from microipa.net import sockets
    from microipa.net.https_server import serve_https
    from microipa.smdpp import Smdpp
    from microipa.smdpp.identity import Identity
    from microipa.trace import Trace

    if pki:
        shutil.copytree(pki, folder / "lab" / "pki", dirs_exist_ok=True)
    async with contextlib.AsyncExitStack() as running:
        lab = await running.enter_async_context(
            Lab(folder / "lab", radio="none", family=family, heap=heap, trace=Trace()))
        for port in (COAPS_PORT, eim_port):
            lab.network.route(BENCH, port, ("127.0.0.1", eim_port))
        board = VirtualBoard(folder / "flash", lab.modem.path, heapsize=heap, modem=family)
        board.folder.mkdir(parents=True, exist_ok=True)
        if not dtls:
            (board.folder / "boot.py").write_text("import sys\nclass Tls: pass\nsys.modules['tls'] = Tls")
        running.callback(board.pull_out)
        running.callback(board.kill)
        port = board.plug_in()
        await board.start()
        if by != "pty":
            gateway = Gateway(port, by == "rfc2217")
            running.callback(gateway.close)
            port = gateway.url
        listener = sockets.tcp("127.0.0.1", 0)
        address = f"localhost:{listener.getsockname()[1]}"
        identity = replace(Identity.of(lab.pki), tls=_tls_of_localhost(lab.pki), address=address)
        (folder / "shop").mkdir(exist_ok=True)
        smdpp = Smdpp([identity], folder / "shop")
        await running.enter_async_context(serve_https(smdpp.app, identity.tls, bound=listener))
        codes = [_ordered(lab, smdpp) for _ in range(_CODES)]
        lab.admit_subscribers()
        button = f"{sys.executable} {__file__} --switch {await Switch(board).start()}"
        yield Told(port, str(folder / "lab/pki/ci.pem"), codes, f"{button} on", f"{button} off", family)


def _ordered(lab: Any, smdpp: Any) -> str:
    """The activation code of a profile that has a subscription and may be the fallback profile."""
    from microipa.asn1.tlv import parse, tlv
    from microipa.lab import FALLBACK_ALLOWED, OPERATOR
    from microipa.saip import ProfilePackage, metadata

    package = lab.profile(operator=OPERATOR)
    described = parse(metadata(ProfilePackage.parse(package))).value
    code: str = smdpp.activation_code(smdpp.add_profile(package, metadata=tlv(0xBF25, described, FALLBACK_ALLOWED)))
    return code


def _tls_of_localhost(pki: Any) -> Any:
    from microipa.crypto import pki as module

    return pki._credential("shop_tls", module._rsp_profile("SM-DP+", pki.smdpp_oid, "localhost", "tls"))


async def main(options: argparse.Namespace) -> int:
    folder: Path = options.folder
    lab = folder / "bench"
    pki = None if options.foreign else _pki(lab)
    async with rack(folder, eim_port=options.eim_port, by=options.by, family=options.family, heap=options.heap,
                    pki=pki) as told:
        more = {"modem": told.modem, "lab": str(lab), "profiles": told.profiles, "power_on": told.power_on,
                "power_off": told.power_off, **({"ci": told.ci} if options.foreign else {})}
        bench = folder / "bench.toml"
        await asyncio.to_thread(bench.write_text, place("rack", told.port, options.eim_port, **more))
        if options.suite is None:
            print(json.dumps(asdict(told)), flush=True)
            await asyncio.to_thread(sys.stdin.read)
            return 0
        command = [sys.executable, "-m", "pytest", "-n", "0", "-rs", "--timeout=600",
                   "--pyargs", "microipa.hil", "--bench", str(bench)]
        suite = await asyncio.create_subprocess_exec(*command, *options.suite)
        return await suite.wait()


def _pki(lab: Path) -> Path:
    from microipa.crypto.pki import Pki

    shutil.rmtree(lab.parent, ignore_errors=True)  # a new card knows nothing of earlier runs
    Pki.open(lab / "pki")
    return lab / "pki"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A board of others, for a bench to try itself on.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path(".lab/rack"))
    parser.add_argument("--eim-port", type=int, default=15684)
    parser.add_argument("--by", choices=WAYS, default="pty")
    parser.add_argument("--family", default="bg95")
    parser.add_argument("--heap", default="192K")
    parser.add_argument("--foreign", action="store_true", help="the card is not under the bench's CI")
    parser.add_argument("--switch", nargs=2, metavar=("PORT", "STATE"))
    parser.add_argument("--suite", nargs=argparse.REMAINDER, help="run it, with these options of pytest")
    given = parser.parse_args()
    if given.switch:
        press(int(given.switch[0]), given.switch[1])
    else:
        with contextlib.suppress(KeyboardInterrupt):
            raise SystemExit(asyncio.run(main(given)))
