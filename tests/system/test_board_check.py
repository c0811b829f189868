"""`microipa board check` on the virtual board with the lab around it: all well, and every way it can fail."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from microipa.board import VirtualBoard
from microipa.board.check import _HOME_OF, STEPS, CheckFailed, _form, _where, check
from microipa.board.flash import flash, kind
from microipa.board.known import find_board
from microipa.board.package import build, own_files
from microipa.board.repl import Repl
from microipa.lab import BOOTSTRAP_OPERATOR, Lab
from microipa.lab.demo import queue_orders
from microipa.modem.serial import Serial
from microipa.trace import Event, Trace
from obliging_modem import modem
from scene import QUICK

BOARD = find_board("virtual")


async def flashed(board: VirtualBoard, config: Path, eim: Path | None = None) -> str:
    """Put the assistant onto a board that runs nothing; the port of its REPL."""
    port = board.plug_in()
    await board.start()

    def put() -> None:
        with Repl(port) as repl:
            kind(repl)
            flash(repl, build(BOARD).with_files(own_files(config, eim, None)), lambda *_: None)

    await asyncio.to_thread(put)
    return port


async def checked(port: str) -> list[tuple[str, str]]:
    def run() -> list[tuple[str, str]]:
        with Repl(port) as repl:
            return list(check(repl, BOARD, lambda _: None))

    return await asyncio.wait_for(asyncio.to_thread(run), 100)


@pytest.mark.parametrize("family", ["bg95", "gm02s", "nrf91", "tx62"])
async def test_a_board_is_checked_from_its_serial_port_to_its_eim(tmp_path: Path, family: str) -> None:
    async with Lab(tmp_path / "lab", radio="none", family=family, trace=Trace()) as lab:
        (lab.board.folder / "main.py").unlink()
        before = lab.euicc.profiles()
        port = lab.board.plug_in()
        config = tmp_path / "ipa.json"
        config.write_text('{"apn": "iot.microipa.example"}')
        assert await flashed(lab.board, config) == port
        seen = dict(await checked(port))
        assert list(seen)[3:] == [step.title for step in STEPS]
        assert seen["EID"] == lab.eid
        assert lab.eim.fqdn in seen["eIM known"]
        assert "eim.der" in seen["eIM known"]  # the card was not changed for the check
        assert lab.euicc.profiles() == before


async def test_the_command_shows_every_step_and_leaves_the_board_at_its_repl(tmp_path: Path) -> None:
    async with Lab(tmp_path / "lab", radio="none", trace=Trace()) as lab:
        (lab.board.folder / "main.py").unlink()
        config = tmp_path / "ipa.json"
        config.write_text('{"apn": "iot.microipa.example"}')
        port = await flashed(lab.board, config)
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("microipa"), "board", "check", "--board", "virtual", "--port", port,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        output, _ = await asyncio.wait_for(process.communicate(), 100)
        assert process.returncode == 0, output.decode()
        ticked = [line for line in output.decode().splitlines() if line.startswith("✓")]
        assert len(ticked) == 4 + len(STEPS)
        assert lab.board.running


@pytest.mark.parametrize(("module", "home"), [("asyncio", ".frozen"), ("ours", "lib/ours/__init__.py"), ("none", "")])
async def test_a_module_of_micropython_s_image_is_told_from_one_in_a_file_system(
        desk: Desk, module: str, home: str) -> None:
    there = desk.folder / "lib/ours/__init__.py"
    there.parent.mkdir(parents=True)
    there.touch()
    board = VirtualBoard(desk.folder)
    port = board.plug_in()
    await board.start()

    def ask() -> str:
        with Repl(port) as repl:
            repl.run("import os")
            repl.run(_HOME_OF)
            return str(repl.value(f"_home_of({module!r})"))

    assert (await asyncio.wait_for(asyncio.to_thread(ask), 30)).endswith(home)
    board.kill()
    board.pull_out()


async def test_a_frozen_assistant_is_measured_by_what_a_frozen_one_needs(tmp_path: Path) -> None:
    async with Lab(tmp_path / "lab", radio="none", trace=Trace()) as lab:
        flash = lab.board.folder
        (flash / "main.py").unlink()
        shutil.move(flash / "ipa", flash / "lib" / "ipa")
        (flash / "lib/ipa/__init__.mpy").unlink()
        (flash / "lib/ipa/__init__.py").write_text('__file__ = "ipa/__init__.py"\n')  # as a frozen one has it
        port = lab.board.plug_in()
        await lab.board.start()
        seen = dict(await checked(port))
        assert "(frozen, CoAP)" in seen["heap"]
        assert seen["firmware"] == "frozen"


@pytest.mark.parametrize(("running", "home", "form", "where"), [
    ("", ".frozen", "frozen", "frozen"),
    ("", "/lib/ipa/__init__.py", "mpy", "copied by hand, /lib/ipa/__init__.py"),
    ("", "/rom/ipa/__init__.mpy", "romfs", "copied by hand, /rom/ipa/__init__.mpy"),
    ("/rom", "/rom/ipa/__init__.mpy", "romfs", "/rom"),
    ("ipa-1a2b3c4d", "", "mpy", "ipa-1a2b3c4d"),
    ("ipa-1a2b3c4d", ".frozen", "mpy", "ipa-1a2b3c4d; there is a frozen one besides: a frozen main.py runs that"),
])
def test_the_form_of_the_code_is_told_by_where_it_lies(running: str, home: str, form: str, where: str) -> None:
    assert (_form(running, home), _where(running, home)) == (form, where)


class Desk:
    """A flashed board whose UART is for the test to plug in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def check(self, answer: Callable[[bytes], bytes]) -> str:
        """What the check says of a modem that answers like this."""
        line: Serial
        line = Serial(lambda data: line.write(answer(data)))
        board = VirtualBoard(self.folder, line.path)
        config = self.folder.with_name("ipa.json")
        config.write_text("{}")
        try:
            with pytest.raises(CheckFailed) as failed:
                await checked(await flashed(board, config))
        finally:
            board.kill()
            board.pull_out()
            line.close()
        return str(failed.value)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    folder = tmp_path / "flash"
    folder.mkdir()
    return Desk(folder)


def data_mode() -> Callable[[bytes], bytes]:
    """Takes everything for data until +++ comes alone (V.250)."""
    state = {"data": True}

    def answer(data: bytes) -> bytes:
        if state["data"]:
            state["data"] = data != b"+++"
            return b"" if state["data"] else b"\r\nOK\r\n"
        return b"\r\nOK\r\n"

    return answer


@pytest.mark.parametrize(("answer", "sentence"), [
    (lambda _: b"", "modem answers AT: not one byte came back: look at the modem's supply and power key"),
    (lambda data: bytes(octet ^ 0xA5 for octet in b"\r\nOK\r\n" + data), "look at the baud rate: board.py and the mo"),
    (lambda _: b"login: ", "something that is no modem, or one that is busy, is on this UART"),
    (data_mode(), "it answered to +++ and to nothing before: something opened a data connection and did not close"),
], ids=["silent", "wrong baud rate", "no modem", "data mode"])
async def test_a_modem_that_does_not_talk_is_told_by_what_comes_back(
        desk: Desk, answer: Callable[[bytes], bytes], sentence: str) -> None:
    assert sentence in await desk.check(answer)


@pytest.mark.parametrize(("answers", "sentence"), [
    ({"CPIN": "+CME ERROR: 10"}, "SIM present: +CME ERROR: 10: put a card in, look at slot and contacts"),
    ({"CPIN": "+CPIN: SIM PIN|OK"}, "the card wants a PIN: switch that off"),
    ({"CPIN": "+CPIN: READY|OK", "CCHO": "+CME ERROR: 13", "CSIM": "ERROR"},
     "this card has no ISD-R, so it is no eUICC, or the modem lets nobody open a channel to it"),
], ids=["no SIM", "PIN", "not an eUICC"])
async def test_a_card_that_cannot_serve_is_told_from_a_modem_that_does_not(
        desk: Desk, answers: dict[str, str], sentence: str) -> None:
    assert sentence in await desk.check(modem(**answers))


async def test_a_board_without_a_whole_version_is_sent_to_be_flashed(desk: Desk) -> None:
    board = VirtualBoard(desk.folder)
    port = board.plug_in()
    await board.start()
    try:
        with pytest.raises(CheckFailed, match=re.escape("microipa flash --board virtual")):
            await checked(port)
    finally:
        board.kill()
        board.pull_out()


@pytest.mark.parametrize(("break_it", "sentence"), [
    ("eim", "DTLS or TLS with the eIM: DtlsTimeout"),
    ("network", "registration: modem: searching, signal "),
    ("name", "socket to the eIM: SocketError"),
])
async def test_what_lies_behind_the_modem_is_told_apart_as_well(
        tmp_path: Path, break_it: str, sentence: str) -> None:
    async with Lab(tmp_path / "lab", radio="none", trace=Trace()) as lab:
        (lab.board.folder / "main.py").unlink()
        config = tmp_path / "ipa.json"
        config.write_text('{"apn": "iot.microipa.example", "dtls_timeout_s": 2, "attach_timeout_s": 2}')
        if break_it == "eim":
            lab.network.route(lab.eim.fqdn, 5684, ("127.0.0.1", 9))
        elif break_it == "name":
            lab.network._routes.clear()
        else:
            lab.network.set_coverage(BOOTSTRAP_OPERATOR, False)
        port = await flashed(lab.board, config)
        with pytest.raises(CheckFailed) as failed:
            await checked(port)
        assert sentence in str(failed.value)


@pytest.mark.parametrize(("family", "trust", "sentence"), [
    ("bg95", "pin", "DtlsError: the modem's DTLS pins no bare key: give the card a certificate to trust the eIM under"),
    ("sara-r5", "ca", "DtlsError: this driver knows no DTLS of the modem's own: take the board's, or HTTPS"),
])
async def test_what_dtls_of_the_modems_own_cannot_do_is_named(
        tmp_path: Path, family: str, trust: str, sentence: str) -> None:
    async with Lab(tmp_path / "lab", radio="none", family=family, trust=trust, trace=Trace()) as lab:
        (lab.board.folder / "main.py").unlink()
        config = tmp_path / "ipa.json"
        config.write_text('{"apn": "iot.microipa.example", "dtls": "modem"}')
        port = await flashed(lab.board, config)
        with pytest.raises(CheckFailed) as failed:
            await checked(port)
        assert f"DTLS or TLS with the eIM: {sentence}" in str(failed.value)


async def test_a_board_without_dtls_reaches_its_eim_by_that_of_its_modem(tmp_path: Path) -> None:
    async with Lab(tmp_path / "lab", radio="none", family="nrf91", trust="ca", trace=Trace()) as lab:
        (lab.board.folder / "main.py").unlink()
        (lab.board.folder / "boot.py").write_text("import sys\nclass Tls: pass\nsys.modules['tls'] = Tls")
        config = tmp_path / "ipa.json"
        config.write_text('{"apn": "iot.microipa.example"}')
        port = await flashed(lab.board, config)
        seen = dict(await checked(port))
        assert seen["capabilities"] == "SHA-256; no DTLS, which is left to the modem"
        assert seen["DTLS or TLS with the eIM"] == "the eIM is who the card says"


@pytest.mark.parametrize(("family", "secured", "plain"), [
    ("bg95", "AT+QSSLOPEN", "AT+QIOPEN"), ("nrf91", "AT#XSSOCKET", "AT#XSOCKET=")])
async def test_a_board_without_dtls_goes_from_microipa_flash_to_first_light_by_that_of_its_modem(
        tmp_path: Path, family: str, secured: str, plain: str) -> None:
    trace = Trace()
    said = ""
    endings: asyncio.Queue[int] = asyncio.Queue()

    def listen(event: Event) -> None:
        nonlocal said
        if event.kind == "at" and event.fields["direction"] == "in":
            said += event.fields.get("text", "")
        elif event.kind == "program":
            endings.put_nowait(event.fields["exit_code"])

    async with Lab(tmp_path / "lab", radio="none", family=family, trace=trace) as lab:
        shutil.rmtree(lab.board.folder)
        lab.board.folder.mkdir()
        (lab.board.folder / "boot.py").write_text("import sys\nclass Tls: pass\nsys.modules['tls'] = Tls")
        config, eim = tmp_path / "ipa.json", tmp_path / "eim.der"
        config.write_text(json.dumps({**QUICK, "apn": "iot.microipa.example"}))
        eim.write_bytes(lab.eim.configuration("ca"))
        queue_orders(lab)
        port = lab.board.plug_in()
        trace.listen(listen)
        await lab.board.start()
        assert await asyncio.wait_for(endings.get(), 20) == 0  # there is nothing yet that could run
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("microipa"), "flash", "--board", "virtual", "--port", port,
            "--config", config, "--eim", eim, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        output, _ = await asyncio.wait_for(process.communicate(), 100)
        assert process.returncode == 0, output.decode()
        assert await asyncio.wait_for(endings.get(), 100) == 0
        assert {order.state for order in lab.eim.orders(lab.eid)} == {"done"}
    assert secured in said
    assert plain not in said
