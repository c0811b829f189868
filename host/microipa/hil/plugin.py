"""The pytest plugin: options, fixtures, what a case needs, and the record of the run.

``pytest --pyargs microipa.hil --board virtual`` runs the suite; a folder of your own may use the same fixtures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from microipa.hil.bench import Place
    from microipa.hil.fixtures import Board, CardView, ModemView, Radio
    from microipa.hil.record import Recorder
    from microipa.hil.servers import EimDesk, SmdppCounter
    from microipa.hil.station import Offer, Station

_DEFAULT_RUN = "hil-run"
_OF_A_PLACE = ("board", "port", "modem", "card", "heap", "form", "eim_url", "bind", "tether")
_places = pytest.StashKey[list["Place"]]()
_recorders = pytest.StashKey[dict[str, "Recorder"]]()
_story = pytest.StashKey[dict[str, Any]]()
_session = pytest.StashKey[str]()
_summary = pytest.StashKey[list[str]]()
_down = pytest.StashKey[dict[str, str]]()  # places that did not come up, and why


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("microipa", "hardware in the loop (microipa.hil)")
    group.addoption("--bench", type=Path, help="bench.toml: several boards, one worker each with -n")
    group.addoption("--board", help="a name of `microipa board list`, or a board's folder (default: virtual)")
    group.addoption("--port", help="device, pty or URL (rfc2217://…, socket://…) of the board's REPL")
    group.addoption("--modem", help="modem family (default: the board's own)")
    group.addoption("--card", help="virtual or real (default: virtual in the virtual board)")
    group.addoption("--heap", help="of the virtual board: 144K, bytes as on a chip")
    group.addoption("--form", help="how the board is flashed: mpy (default), or romfs, which runs in place")
    group.addoption("--eim-url", help="where a real board reaches the bench's eIM: coaps://host:port")
    group.addoption("--tether", action="store_true", default=None,
                    help="no eIM in reach: datagrams go over the board's serial port, and the report says so")
    group.addoption("--bind", help="address at which the bench's eIM listens (default: loopback)")
    group.addoption("--quirk", action="append", metavar="NAME", help="one of `microipa lab quirks`; may be repeated")
    group.addoption("--run", type=Path, default=Path(_DEFAULT_RUN), help="folder of the record: --run=hil-run")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*features): what the bench must have, of microipa.hil.bench.FEATURES")
    config.addinivalue_line("markers", "sgp(group, clause): the SGP.33 test group of a case, and the SGP.32 clause")
    config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning:serial.rfc2217")
    if any(config.getoption(name) is not None for name in ("bench", "quirk", *_OF_A_PLACE)):
        _bench(config)  # what is wrong with it is said once, and no worker starts
    # Workers are told by pytest_configure_node.
    config.stash[_session] = getattr(config, "workerinput", {}).get("microipa_session") or str(datetime.now(UTC))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Of pytest-xdist: all workers' runs are of one session."""
    node.workerinput["microipa_session"] = node.config.stash[_session]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One worker a board: --dist loadgroup gives all cases of a place to the same one."""
    if "station" not in metafunc.fixturenames:  # this plugin is loaded in every session, next to other tests
        return
    workers = getattr(metafunc.config, "workerinput", {}).get("workercount", 1)
    if workers > 1 and not metafunc.config.getoption("loadgroup", False):
        raise pytest.UsageError("several workers would flash one board at once: add --dist loadgroup, or run with -n 0")
    places = [
        pytest.param(place, id=place.name, marks=pytest.mark.xdist_group(place.name))
        for place in _bench(metafunc.config)
    ]
    metafunc.parametrize("place", places, scope="session")


def _bench(config: pytest.Config) -> list[Place]:
    if _places not in config.stash:
        from microipa.common.errors import MicroipaError

        try:
            config.stash[_places] = _chosen(config)
        except MicroipaError as error:
            raise pytest.UsageError(str(error)) from None
    return config.stash[_places]


def _chosen(config: pytest.Config) -> list[Place]:
    from microipa.hil.bench import BadBench, Place, read_bench

    given = {name: value for name in _OF_A_PLACE if (value := config.getoption(name)) is not None}
    if bench := config.getoption("bench"):
        if given:
            raise BadBench(f"--bench and --{next(iter(given)).replace('_', '-')} exclude each other: the file says it")
        places = read_bench(bench)
    else:
        places = [Place(given.get("board", "virtual").rstrip("/").rpartition("/")[2], **given).check()]
    quirks = tuple(config.getoption("quirk") or ())
    return [replace(place, quirks=place.quirks + quirks).check() for place in places] if quirks else places


# Fixtures -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def station(place: Place, request: pytest.FixtureRequest) -> Iterator[Station]:
    """The place at work, its board flashed. When it does not come up its first case fails, and tells why."""
    from microipa.common.errors import MicroipaError
    from microipa.common.outside_text import visible
    from microipa.common.stopping import as_by_ctrl_c
    from microipa.hil.station import Station

    began = time.monotonic()
    recorder = _recorder(request.config, place)
    folder = recorder.folder / "bench"
    with ExitStack() as running:
        running.enter_context(as_by_ctrl_c())
        try:
            at_work = running.enter_context(Station(place, folder))
        except MicroipaError as error:
            request.config.stash.setdefault(_down, {})[place.name] = visible(error)
            raise pytest.fail.Exception(f"{place.name}: {visible(error)}", pytrace=False) from None
        recorder.learn(micropython=at_work.kind.release, firmware=at_work.firmware, eid=at_work.eid)
        yield at_work
        last = at_work.take()
        recorder.learn(seconds=round(time.monotonic() - began, 1), **_about(at_work))
        at_work.events = last  # of the case that ends with us


@pytest.fixture
def board(
    request: pytest.FixtureRequest, station: Station, eim: EimDesk, card: CardView, radio: Radio
) -> Iterator[Board]:
    """The board under test, at its REPL, with the bench's settings; afterwards all is as it was before the case."""
    from microipa.hil.fixtures import Board

    _skip_what_lacks(request.node, station.lacks)
    board = Board(station)
    yield board
    radio.mend()
    board.tidy(eim, card)


@pytest.fixture
def eim(station: Station) -> EimDesk:
    """The eIM, which has no orders open."""
    from microipa.hil.servers import EimDesk

    eim = EimDesk(station)
    eim.cancel_what_waits()
    return eim


@pytest.fixture
def spare(station: Station, board: Board, eim: EimDesk, smdpp: SmdppCounter) -> Offer:
    """A profile of another operator, which is on the card and disabled."""
    if station.spare is None:
        from microipa.hil.fixtures import load_spare

        station.spare = load_spare(station, board, eim, smdpp)
    return station.spare


@pytest.fixture
def smdpp(station: Station) -> SmdppCounter:
    from microipa.hil.servers import SmdppCounter

    return SmdppCounter(station)


@pytest.fixture
def card(station: Station, eim: EimDesk) -> CardView:
    from microipa.hil.fixtures import CardView

    return CardView(station, eim)


@pytest.fixture
def radio(station: Station) -> Radio:
    """The air, which ``board`` makes good again after the case."""
    from microipa.hil.fixtures import Radio

    return Radio(station)


@pytest.fixture
def modem(station: Station) -> ModemView:
    from microipa.hil.fixtures import ModemView

    return ModemView(station)


# What a case needs, and what is written down of it -------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    place = _place_of(item)
    if place is None:
        return
    item.stash[_story] = {"began": time.monotonic(), "outcome": "passed", "reason": "", "where": ""}
    _skip_what_lacks(item, place.lacks)
    if why := item.config.stash.get(_down, {}).get(place.name):
        pytest.skip(f"{place.name} could not be started: {why}")


def _skip_what_lacks(item: pytest.Item, lacks: Callable[[str], str]) -> None:
    for mark in item.iter_markers("needs"):
        for feature in mark.args:
            if why := lacks(feature):
                pytest.skip(why)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    story = item.stash.get(_story, None)
    if story is not None:
        if report.outcome != "passed" and story["outcome"] == "passed":
            story["outcome"] = "error" if report.outcome == "failed" and report.when != "call" else report.outcome
            story["reason"] = _reason(report, call)
            if report.outcome == "failed":
                story["where"] = _where(item, call)
                _mark(item, f"{story['where']}: {story['reason']}".removeprefix(": "))
        if report.when == "teardown":
            _write_down(item, story)
    return report


def _place_of(item: pytest.Item) -> Place | None:
    if "station" not in getattr(item, "fixturenames", ()):
        return None
    place: Place = item.callspec.params["place"]  # type: ignore[attr-defined]
    return place


def _reason(report: pytest.TestReport, call: pytest.CallInfo[None]) -> str:
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return str(call.excinfo.exconly() if call.excinfo else "")


def _where(item: pytest.Item, call: pytest.CallInfo[None]) -> str:
    """The line of the case that failed, and that further inside which raised the error."""
    if call.excinfo is None:
        return ""
    function = item.function.__name__  # type: ignore[attr-defined]
    entries = call.excinfo.traceback
    of_file = [entry for entry in entries if Path(entry.path) == item.path]
    own = [entry for entry in of_file if entry.name == function] or of_file
    places = [f"{Path(entry.path).name}:{entry.lineno + 1}" for entry in (*own[-1:], *entries[-1:])]
    told = list(dict.fromkeys(places))
    return ", raised at ".join(told)


def _mark(item: pytest.Item, text: str) -> None:
    """Let the failure stand among the events, before those of the tidying up."""
    station: Station | None = getattr(item, "funcargs", {}).get("station")
    if station:
        station.settled()
        station.record("lab", "failed", text=text.partition("\n")[0])
        station.settled()


def _write_down(item: pytest.Item, story: dict[str, Any]) -> None:
    from microipa.hil.bill import bill_of
    from microipa.hil.record import Case
    from microipa.hil.title import title

    place = _place_of(item)
    assert place
    recorder = _recorder(item.config, place)
    station: Station | None = getattr(item, "funcargs", {}).get("station")
    events = []
    if station:
        events = station.take()
    mark = item.get_closest_marker("sgp")
    group, clause = mark.args if mark else ("", "")
    function = item.function  # type: ignore[attr-defined]
    case = Case(item.name, group, clause, title(function.__name__, function.__doc__), story["outcome"],
                story["reason"], round(time.monotonic() - story["began"], 2), bill_of(events),
                where=story["where"])
    recorder.add(case, events)


def _recorder(config: pytest.Config, place: Place) -> Recorder:
    from microipa.board.package import build_of
    from microipa.hil.record import Recorder, Run

    recorders = config.stash.setdefault(_recorders, {})
    if place.name not in recorders:
        started = datetime.now(UTC).isoformat(timespec="seconds")
        run = Run(place.name, place.known.name, "", "", place.form, place.family, "", place.card, "",
                  place.heap if place.is_virtual else "", place.tether, started,
                  session=config.stash[_session], build=build_of())
        recorders[place.name] = Recorder(config.getoption("run") / place.name, run)
    return recorders[place.name]


def _about(station: Station) -> dict[str, Any]:
    """What modem and card tell of themselves when all is over."""
    from microipa.common.errors import MicroipaError

    try:
        about = station.ask()
    except MicroipaError as error:
        return {"modem_firmware": f"not told: {error}"}
    return {"modem_firmware": about.modem_firmware, "card_versions": dict(about.versions)}


# The report of the session -------------------------------------------------------------------------------------


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page and the JUnit file of the places that this session ran, when all workers are done."""
    config = session.config
    if hasattr(config, "workerinput") or not config.getoption("run").is_dir():
        return
    from microipa.common.errors import MicroipaError
    from microipa.common.outside_text import visible
    from microipa.hil.report import write_session

    try:
        config.stash[_summary] = [str(path) for path in write_session(config.getoption("run"), config.stash[_session])]
    except (MicroipaError, OSError) as error:
        config.stash[_summary] = [f"none, {visible(error)}"]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if summary := config.stash.get(_summary, None):
        terminalreporter.write_line(f"report: {', '.join(summary)}")
