"""`microipa new product`, `microipa flash --app`: a folder of one's own goes onto a board and works there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cli_runner import Microipa
from microipa.board.known import find_board
from microipa.board.product import BadProduct, code_beside_board, new_product, product_files
from microipa.lab import Lab
from microipa.trace import Trace


@pytest.fixture
def product(tmp_path: Path) -> Path:
    new_product(tmp_path / "meter", find_board("virtual"))
    return tmp_path / "meter"


async def test_a_new_product_is_flashed_reports_and_lets_the_assistant_work(
        product: Path, microipa: Microipa, tmp_path: Path) -> None:
    readings: asyncio.Queue[bytes] = asyncio.Queue()

    class Collector(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, _: tuple[str, int]) -> None:
            readings.put_nowait(data)

    (product / "sensors").mkdir()
    (product / "sensors" / "meter.py").write_text("def read():\n    return b'17 kWh'\n")
    application = (product / "application.py").read_text()
    application = application.replace('return b"42 kWh"', "from sensors import meter\n\n    return meter.read()")
    (product / "application.py").write_text(application)
    (product / "ipa.json").write_text('{"apn": "iot.microipa.example", "poll_interval_s": 2}')
    (product / "calibration.bin").write_bytes(b"\x01\x02")
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Collector, ("127.0.0.1", 0))
    try:
        async with Lab(tmp_path / "lab", radio="none", trace=Trace()) as lab:
            lab.network.route("collector.example", 5683, transport.get_extra_info("sockname"))
            port = lab.board.plug_in()
            await lab.board.start()
            outcome = await asyncio.to_thread(microipa, "flash", "--app", product, "--port", port)
            assert outcome.status == 0, outcome.err
            assert "the board's program runs: " in outcome.out
            assert await asyncio.wait_for(readings.get(), 60) == b"17 kWh"
            installed = asyncio.Event()
            lab.trace.listen(lambda event: installed.set() if event.kind == "order" and event.fields["state"] == "done"
                             else None)
            lab.eim.order_download(lab.eid, lab.offer())
            await asyncio.wait_for(installed.wait(), 60)
            version = lab.board.folder / lab.board.flashed
            assert (version / "calibration.bin").read_bytes() == b"\x01\x02"
            assert (version / "sensors" / "meter.mpy").is_file()
    finally:
        transport.close()


@pytest.mark.parametrize("board", ["virtual", "walter", "pico-lte"])
def test_every_board_can_be_begun_with(tmp_path: Path, board: str) -> None:
    names = new_product(tmp_path / "meter", find_board(board))
    assert names == ["README.md", "application.py", "board.py", "board.toml", "ipa.json", "main.py"]
    assert set(product_files(tmp_path / "meter", "mpy").files) == {"app.mpy", "application.mpy", "ipa.json"}


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("here first")
    with pytest.raises(BadProduct, match="exists and is not empty"):
        new_product(tmp_path, find_board("virtual"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["ipa/agent.py", "restart.py", "board/__init__.py", "app.py"])
def test_a_module_with_a_name_of_the_assistants_is_refused(product: Path, name: str) -> None:
    (product / name).parent.mkdir(exist_ok=True)
    (product / name).write_text("")
    with pytest.raises(BadProduct, match="the assistant has a file of this name"):
        product_files(product, "mpy")


def test_hidden_files_and_documents_stay_at_home(product: Path) -> None:
    for name in (".git/config", "__pycache__/x.pyc", "notes.md"):
        (product / name).parent.mkdir(exist_ok=True)
        (product / name).write_text("")
    assert set(product_files(product, "py").files) == {"app.py", "application.py", "ipa.json"}


def test_modules_beside_a_board_py_go_along_and_what_does_not_is_named(tmp_path: Path) -> None:
    new_product(tmp_path / "b", find_board("walter"))
    (tmp_path / "b" / "pins.py").write_text("RX = 14\n")
    own = code_beside_board(find_board(f"{tmp_path}/b"), "mpy")
    assert "pins.mpy" in own.files
    assert own.left_out == ["ipa.json", "main.py"]


@pytest.mark.parametrize(("words", "sentence"), [
    (("flash", "--app", "."), "which board? Name it with --board"),
    (("flash", "--app", ".", "--board", "virtual"), "there is no main.py in ."),
    (("flash", "--app", "nowhere", "--board", "virtual"), "there is no main.py in nowhere"),
    (("new", "product", "x", "--board", "waltr"), "no board 'waltr'"),
])
def test_a_mistake_is_one_sentence(microipa: Microipa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                   words: tuple[str, ...], sentence: str) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = microipa(*words)
    assert outcome.status == 1
    assert outcome.err.startswith(f"microipa: {sentence}")
    assert outcome.err.count("\n") == 1


def test_settings_of_a_product_that_the_firmware_does_not_take_are_named(product: Path, microipa: Microipa) -> None:
    (product / "ipa.json").write_text('{"apm": "iot"}')
    outcome = microipa("flash", "--app", product, "--port", "/dev/no-such-port")
    assert "there is no setting apm" in outcome.err
