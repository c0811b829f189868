"""The command line for boards: ``microipa flash`` and ``microipa board …``."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from microipa.common.console import LAB, BadInput, Json, errors, out, print_json, run_async
from microipa.common.outside_text import visible

if TYPE_CHECKING:
    from microipa.board.flash import Flashed, Report
    from microipa.board.known import Board
    from microipa.board.package import Form, Package
    from microipa.board.repl import Repl

LAB_CONSOLE = LAB / "board.tty"
DONE = Text("✓", "green")

app = typer.Typer(no_args_is_help=True, help="List, check and restart boards.")

new_app = typer.Typer(no_args_is_help=True, help="Create a product of your own.")

BoardName = Annotated[
    str | None, typer.Option("--board", help="A name of `microipa board list`, or the path of your own board's folder.")
]
Port = Annotated[
    str, typer.Option(help="Device, pty or URL (rfc2217://…) of its REPL; auto: the only USB port, or the lab's.")
]


def add_to(microipa: typer.Typer) -> None:
    """Give the ``microipa`` command these verbs."""
    microipa.command("flash")(flash_command)
    microipa.add_typer(new_app, name="new")
    microipa.add_typer(app, name="board")


def flash_command(
    board: BoardName = None,
    port: Port = "auto",
    mpy: Annotated[bool, typer.Option("--mpy", help="Bytecode in the file system, if the heap suffices.")] = False,
    py: Annotated[bool, typer.Option("--py", help="Source in the file system; needs much more heap.")] = False,
    romfs: Annotated[bool, typer.Option(
        "--romfs", help="Bytecode in the board's romfs partition; runs in flash.")] = False,
    freeze_manifest: Annotated[
        Path | None,
        typer.Option(help="Write a manifest that freezes the assistant to this file; needs no board.", dir_okay=False),
    ] = None,
    config: Annotated[Path | None, typer.Option(
        help="Settings (ipa.json); by default those on the board are kept.")] = None,
    eim: Annotated[Path | None, typer.Option(help="EimConfigurationData (DER) for a card without an eIM.")] = None,
    roots: Annotated[Path | None, typer.Option(help="Certificates trusted for SM-DP+ servers (DER).")] = None,
    app: Annotated[
        Path | None,
        typer.Option(help="Folder of your product (microipa new product), copied completely.", file_okay=False),
    ] = None,
    back: Annotated[bool, typer.Option("--back", help="Return to the version before this one.")] = False,
) -> None:
    """Install the assistant on a board, or return to the version before."""
    options = [name for name, chosen in (("--mpy", mpy), ("--py", py), ("--romfs", romfs), ("--back", back),
                                      ("--freeze-manifest", freeze_manifest)) if chosen]
    if len(options) > 1:
        raise BadInput(f"{' and '.join(options)} exclude each other: choose one")
    from microipa.board.flash import check_board, check_fit, flash, go_back, kind
    from microipa.board.known import find_board, read_board
    from microipa.board.package import SETTINGS, build, check_config, make_line, manifest, own_files
    from microipa.board.product import DESCRIPTION, code_beside_board, product_files
    from microipa.board.repl import BoardLost, Repl
    from microipa.board.romfs import flash_romfs

    if back:
        with Repl(chosen_port(find_board(board) if board else None, port)) as repl:
            _tell(go_back(repl))
            _start(repl)
        return
    if board is None and app and (app / DESCRIPTION).is_file():
        known = read_board(app.resolve())
    elif board is None:
        raise BadInput("which board? Name it with --board; `microipa board list` shows them")
    else:
        known = find_board(board)
    if freeze_manifest:
        given = own_files(config, None, None).get(SETTINGS)
        freeze_manifest.write_text(manifest(known, given), encoding="utf-8")
        out.print(f"{freeze_manifest} written. In a checkout of MicroPython:")
        out.print(f"  {make_line(known, freeze_manifest)}")
        return
    form: Form = "py" if py else "mpy"
    package = build(known, form)
    own = product_files(app, form) if app else code_beside_board(known, form)
    package = package.with_files(own.files)
    if SETTINGS in own.files:
        check_config(own.files[SETTINGS], str(app / SETTINGS) if app else SETTINGS, package.modems)
    if own.left_out:
        out.print(f"not sent: {', '.join(own.left_out)}")
    package = package.with_files(own_files(config, eim, roots, package.modems))
    try:
        with Repl(chosen_port(known, port)) as repl:
            found = kind(repl)
            check_board(found, known, repl.port)
            check_fit(found, known.modem, None if py else package.files["app.mpy"][1])
            heap = f"{found.heap_free_on_chip // 1024} KiB of heap free"
            out.print(f"{repl.port}: MicroPython {found.release} on {found.platform}, {heap}")
            in_rom = romfs if romfs or mpy or py else _is_romfs(repl, known, package, found.heap_free_on_chip)
            _tell(_with_progress(flash_romfs if in_rom else flash, repl, package))
            _start(repl)
    except BoardLost as error:
        raise BoardLost(f"{error} Flash again: until then the board boots the version of before") from None


@new_app.command("product")
def new_product_command(
    folder: Annotated[Path, typer.Argument(help="Folder to create.")],
    board: Annotated[str, typer.Option(help="Board to copy: a name of `microipa board list`.")] = "virtual",
) -> None:
    """Create a folder for your product: board.py, main.py, an application beside the assistant, settings."""
    from microipa.board.known import find_board
    from microipa.board.product import new_product

    out.print(f"{folder}: {', '.join(new_product(folder, find_board(board)))}")
    out.print(f"Change application.py, then: microipa flash --app {folder}")


@app.command("list")
def list_boards(as_json: Json = False) -> None:
    """Show the boards that microipa supports."""
    from dataclasses import asdict

    from microipa.board.known import known_boards

    boards = known_boards()
    if as_json:
        for board in boards:
            print_json({"name": board.name, **asdict(board)})
        return
    width = max(len(board.name) for board in boards)
    for board in boards:  # a table of it is wider than a terminal
        out.print(f"{board.name:{width}}  {board.title}")
        size = f"heap {board.heap_kb} kB, flash {board.flash_kb} kB"
        out.print(f"{'':{width}}  modem {board.modem}, {size}, ran on hardware: {board.ran_on_hardware or 'not yet'}")


@app.command("check")
def check_board(board: BoardName = None, port: Port = "auto", as_json: Json = False) -> None:
    """Test a board step by step from its serial port to the eIM; name the step that fails and what to look at."""
    from microipa.board.check import CheckFailed, check
    from microipa.board.known import find_board
    from microipa.board.repl import Repl

    if board is None:
        raise BadInput("which board? Name it with --board; `microipa board list` shows them")
    known = find_board(board)
    with Repl(chosen_port(known, port)) as repl:
        _tell_step("serial", repl.port, as_json)
        try:
            with out.status("") if out.is_terminal and not as_json else nullcontext() as status:
                begin = (lambda title: status.update(Text(title))) if status else (lambda _: None)
                for title, seen in check(repl, known, begin):
                    _tell_step(title, seen, as_json)
            if not as_json:
                out.print("All steps succeeded.")
        except CheckFailed as error:
            if as_json:
                print_json({"good": False, "seen": str(error)})
            raise
        finally:
            restart = f"The board's program is stopped. To start it: microipa board restart {_same(board, port)}"
            (errors if as_json else out).print(restart)


def _tell_step(title: str, seen: str, as_json: bool) -> None:
    if as_json:
        print_json({"step": title, "good": True, "seen": seen})
    else:
        out.print(DONE, f"{title:26} {seen}")


@app.command("restart")
def restart_board(board: BoardName = None, port: Port = "auto") -> None:
    """Start the board's program and wait for its first output."""
    from microipa.board.known import find_board
    from microipa.board.repl import Repl

    with Repl(chosen_port(find_board(board) if board else None, port)) as repl:
        _start(repl)


@app.command("virtual")
def virtual(
    folder: Annotated[Path, typer.Argument(
        help="Folder for its flash; created if it does not exist.", file_okay=False)],
    heap: Annotated[str, typer.Option(help="Bytes as on a chip with 32-bit words.")] = "144K",
) -> None:
    """Run a virtual board without a modem until Ctrl-C; its REPL is on a pty."""
    from microipa.board.micropython import run_micropython

    try:
        starts = run_micropython("pass", heapsize=heap).returncode == 0
    except ValueError:
        starts = False
    if not starts:
        raise BadInput(f"--heap {heap[:64]} is not a heap size: give 144K, 2M or 147456")
    folder.mkdir(parents=True, exist_ok=True)
    run_async(_stay_up(folder.resolve(), heap))


def chosen_port(board: Board | None, port: str) -> str:
    """What --port means for this board; for any board the lab's, where a lab is up and no USB port is there.

    Raises PortError.
    """
    from microipa.board.repl import PortError, find_port, usb_ports
    from microipa.euicc.nvm import is_in_reader

    if port != "auto":
        return port
    if board is None and not usb_ports() and LAB_CONSOLE.is_symlink() and is_in_reader(LAB / "card.nvm"):
        return str(LAB_CONSOLE)
    if board and board.port == "unix":
        if not LAB_CONSOLE.is_symlink():
            raise PortError(
                f"there is no {LAB_CONSOLE}: start `microipa lab up` here, or name the board's pty with --port")
        if not is_in_reader(LAB / "card.nvm"):  # the number of the pty may be another's terminal by now
            raise PortError(f"{LAB_CONSOLE} belongs to a lab that is no longer running: start `microipa lab up` here")
        return str(LAB_CONSOLE)
    return find_port()


def _is_romfs(repl: Repl, board: Board, package: Package, heap_free: int) -> bool:
    """Which form the board can carry, where nobody has chosen one; said when it is not the usual one.

    Raises BoardUnfit.
    """
    from microipa.board.flash import BoardUnfit, settings_of, versions
    from microipa.board.needs import chosen_form, protocols_of
    from microipa.board.package import SETTINGS
    from microipa.board.romfs import why_not

    whole = package.with_files(settings_of(repl, versions(repl)[:1], package)).without_unused()
    protocols = protocols_of(json.loads(whole.files.get(SETTINGS, b"{}")))
    form, why = chosen_form(board, protocols, heap_free, why_not(repl, whole))
    if form is None:
        raise BoardUnfit(f"{why}: choose a build with more heap (PSRAM), or protocols that need less (ipa.json)")
    if form == "frozen":
        raise BoardUnfit(f"{why}: freeze the assistant (--freeze-manifest), or flash with --mpy anyway")
    if why:
        out.print(f"into the romfs partition: {why}")
    return form == "romfs"


def _with_progress(write: Callable[[Repl, Package, Report], Flashed], repl: Repl, package: Package) -> Flashed:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:32}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        task = progress.add_task("", total=package.size)
        return write(repl, package, lambda what, done, total: progress.update(
            task, description=visible(what), completed=done, total=total))


def _same(board: str, port: str) -> str:
    """The options that name a board and its port once more."""
    return f"--board {board}" + (f" --port {port}" if port != "auto" else "")


def _start(repl: Repl) -> None:
    """Let the board's program run, and say what it says first."""
    from microipa.board.start import FIRST_WORDS_S, start

    words = start(repl)
    out.print(f"the board's program runs: {visible(words)}" if words else
              f"the board's program was started and has printed nothing for {FIRST_WORDS_S:.0f} s: its log may be off "
              f"(log_level 0), otherwise look with `mpremote connect {repl.port}`")


def _tell(flashed: Flashed) -> None:
    from microipa.board.flash import STARTS

    cost = f", {flashed.sent:,} bytes sent, {flashed.reused:,} already there" if flashed.sent + flashed.reused else ""
    back = f"; `microipa flash --back` returns to {flashed.previous}" if flashed.previous else ""
    if flashed.last_words:
        out.print(f"the board had restarted by itself: {flashed.last_words}")
    out.print(f"{flashed.version} is on the board{cost}{back}")
    if flashed.on_trial:
        out.print(f"it is on trial until it reaches an eIM: after {STARTS} starts without that the board returns to "
                  f"{flashed.previous} again")


async def _stay_up(folder: Path, heap: str) -> None:
    from microipa.board.virtual import VirtualBoard

    board = VirtualBoard(folder, heapsize=heap)
    out.print(f"its REPL is {board.plug_in()}: mpremote connect {board.plug_in()}; Ctrl-C switches it off")
    await board.start()
    try:
        await board.wait()
    finally:
        board.kill()
        board.pull_out()
