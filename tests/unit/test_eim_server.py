"""`microipa eim serve`: an eIM without a lab, as an operator starts and stops it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from euicc_peer import EID
from microipa.asn1.tlv import integer, tlv
from microipa.crypto.pki import Pki
from microipa.crypto.tls import client_context
from microipa.eim import Eim
from microipa.eim.config import BadConfig, Config
from microipa.eim.dtls_handshake import DtlsSettings
from microipa.load.device import CoapsLink, Failed, HttpsLink, dtls_context
from microipa.load.server import Server, running, write_configuration
from microipa.net import sockets

POLL = tlv(0xBF4F, tlv(0x5A, bytes.fromhex(EID)))
EXAMPLE = Path(__file__).parents[2] / "examples/eim/eim.toml"
NOTHING = tlv(0xBF4F, integer(0x02, 1))


@pytest.fixture
def config(pki: Pki, tmp_path: Path) -> Path:
    """An eim.toml that a server starts with."""
    return write_configuration(tmp_path / "eim", pki, "eim.sqlite")


@pytest.fixture
def refused(microipa) -> Callable[[Path], str]:
    """What a server says that does not start: its last line, one sentence."""

    def start(config: Path) -> str:
        ended = microipa("eim", "serve", "--config", config)
        assert ended.status == 2
        return ended.err.splitlines()[-1].removeprefix("microipa: ")

    return start


async def test_both_listeners_answer_a_poll_and_a_line_of_json_tells_their_ports(pki, config):
    Eim(pki, config.parent, es9_routes={}).add_device(EID)
    async with running(config) as server:
        coaps = await CoapsLink(dtls_context(pki.ci.certificate), ("127.0.0.1", server.ports["coaps"])).open()
        https = HttpsLink(client_context([pki.ci.certificate]), ("127.0.0.1", server.ports["https"]), pki.eim_fqdn)
        assert await coaps.ask(POLL) == NOTHING
        assert await (await https.open()).ask(POLL) == NOTHING
        https.close()
    lines = [json.loads(line) for line in (config.parent / "serve.log").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["listening", "listening", "serving", "stopping", "stopped"]


async def test_one_server_is_several_eims_each_with_its_keys_database_and_ports(pki, config, tmp_path):
    second = pki.second_eim()
    other = write_configuration(tmp_path / "other", second, "eim.sqlite")
    Eim(pki, config.parent, es9_routes={}).add_device(EID)
    async with running(config, "--config", str(other)):
        lines = await wait_for(config, "listening", 4)
        ports = {line["eim"]: line["port"] for line in lines if line["scheme"] == "coaps"}
        answers = {}
        for name, port in ports.items():
            link = await CoapsLink(dtls_context(pki.ci.certificate), ("127.0.0.1", port)).open()
            answers[name] = await link.ask(POLL)
    assert answers == {pki.eim_fqdn: NOTHING, second.eim_fqdn: tlv(0xBF4F, integer(0x02, 2))}  # eidNotFound


async def wait_for(config: Path, event: str, count: int = 1) -> list[dict[str, Any]]:
    """The lines of the log that begin with this event, once there are so many."""
    async with asyncio.timeout(30):
        while True:
            lines = [json.loads(line) for line in (config.parent / "serve.log").read_text().splitlines()]
            if len(found := [line for line in lines if line["event"].startswith(event)]) >= count:
                return found
            await asyncio.sleep(0.05)


def poller(pki: Pki, server: Server, patience: float = 10) -> CoapsLink:
    return CoapsLink(dtls_context(pki.ci.certificate), ("127.0.0.1", server.ports["coaps"]), patience=patience)


async def test_sighup_lets_new_associations_and_connections_see_the_new_certificate(pki, config, tmp_path):
    Eim(pki, config.parent, es9_routes={}).add_device(EID)
    other = Pki.open(tmp_path / "other")
    async with running(config) as server:
        await wait_for(config, "serving")
        before = await poller(pki, server).open()
        write_configuration(config.parent, other, "eim.sqlite")
        os.kill(server.pid, signal.SIGHUP)
        await wait_for(config, f"certificates of {pki.eim_fqdn} reloaded")
        assert await before.ask(POLL) == NOTHING
        assert await (await poller(other, server).open()).ask(POLL) == NOTHING
        https = HttpsLink(client_context([other.ci.certificate]), ("127.0.0.1", server.ports["https"]), pki.eim_fqdn)
        assert await (await https.open()).ask(POLL) == NOTHING


async def test_keys_that_cannot_be_read_on_sighup_leave_the_server_as_it_was(pki, config):
    Eim(pki, config.parent, es9_routes={}).add_device(EID)
    async with running(config) as server:
        await wait_for(config, "serving")
        (config.parent / "keys" / "tls.key").write_text("no key")
        os.kill(server.pid, signal.SIGHUP)
        await wait_for(config, f"certificates of {pki.eim_fqdn} are not changed")
        assert await (await poller(pki, server).open()).ask(POLL) == NOTHING


# Several workers


async def test_a_worker_that_is_killed_is_replaced_and_any_other_serves_its_devices(pki, config):
    desk = Eim(pki, config.parent, es9_routes={})
    desk.add_device(EID)
    desk.order_data(EID, ["deviceInfo"])
    async with running(config, "--workers", "2") as server:
        await wait_for(config, "serving", 2)
        first = await (await poller(pki, server).open()).ask(POLL)
        for line in await wait_for(config, "worker started", 2):
            os.kill(line["pid"], signal.SIGKILL)
        assert [line["status"] for line in await wait_for(config, "worker ended by itself", 2)] == [-9, -9]
        await wait_for(config, "serving", 4)
        assert await (await poller(pki, server).open()).ask(POLL) == first


def test_a_copy_of_a_socket_that_processes_share_does_not_block_for_the_others():
    with sockets.tcp("127.0.0.1", 0) as one, sockets.udp("127.0.0.1", 0) as other:
        assert [made.dup().getblocking() for made in (one, other)] == [False, False]


async def test_workers_share_the_work(pki, config):
    Eim(pki, config.parent, es9_routes={}).add_device(EID)
    async with running(config, "--workers", "2") as server:
        await wait_for(config, "serving", 2)
        before = {pid: server.cpu_of(pid) for pid in server.workers()}
        for _ in range(40):
            link = await poller(pki, server).open()
            assert await link.ask(POLL) == NOTHING
            link.close()
        assert len(before) == 2
        assert all(server.cpu_of(pid) > cpu for pid, cpu in before.items())


async def test_a_rolling_restart_replaces_all_workers_and_refuses_no_poll(pki, config):
    Eim(pki, config.parent, es9_routes={}).add_device(EID)
    async with running(config, "--workers", "2") as server:
        await wait_for(config, "serving", 2)
        before = set(server.workers())
        os.kill(server.pid, signal.SIGUSR2)
        polls = 0
        while before & set(server.workers()) or polls < 10:
            try:
                link = await poller(pki, server, patience=5.0).open()
                assert await link.ask(POLL) == NOTHING
            except Failed as lost:  # the association of a worker that left: a device begins another one
                assert not str(lost).startswith("CoAP"), f"a poll is refused: {lost}"
            else:
                polls += 1
        await wait_for(config, "worker replaced", 2)


async def test_sigterm_says_good_bye_to_each_association(pki, config):
    async with running(config) as server:
        link = await CoapsLink(dtls_context(pki.ci.certificate), ("127.0.0.1", server.ports["coaps"])).open()
    assert await link.closed()


def test_paths_of_the_file_are_beside_it_and_the_environment_goes_first(config):
    read = Config.read(config, {"MICROIPA_EIM_DATABASE": "elsewhere.sqlite", "MICROIPA_EIM_COAPS": "[::1]:5684"})
    assert read.keys == config.parent / "keys"
    assert read.database == "elsewhere.sqlite"
    assert read.coaps == ("::1", 5684)


async def test_the_limits_of_dtls_are_those_of_the_file(pki, config):
    with config.open("a") as file:
        file.write("[dtls]\nmax_associations = 1\n")
    async with running(config) as server:
        first = await poller(pki, server).open()
        await poller(pki, server).open()
        assert await first.closed()


def test_the_example_has_the_limits_that_hold_without_it():
    assert Config.read(EXAMPLE, {}).dtls == DtlsSettings()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("port = 3", "there is no key port"),
        ('keys = ""', "keys is '', not a path"),
        ("database = 7", "database is 7, not a path"),
        ('coaps = "5684"', "coaps is '5684', not an address, host:port"),
        ('https = "eim:99999"', "https is 'eim:99999', not an address"),
        ('smdp_trust = "ca.pem"', "smdp_trust is a list of paths"),
        ('smdp_routes = {a = ""}', "smdp_routes.a is empty"),
        ("dtls = 3", "dtls is a table of limits"),
        ("dtls = {mtu = 3}", "dtls has no limit mtu"),
        ("dtls = {idle_seconds = 0}", "dtls.idle_seconds is 0, not a number from 1 to 604800"),
        ('dtls = {max_associations = "many"}', "dtls.max_associations is 'many', not a number"),
        ("keys = [", "is not TOML"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, line, said):
    name = line.partition(" ")[0]
    given = {"keys": 'keys = "keys"', "database": 'database = "eim.sqlite"', name: line}
    (tmp_path / "eim.toml").write_text("\n".join(given.values()))
    with pytest.raises(BadConfig, match="eim.toml") as refusal:
        Config.read(tmp_path / "eim.toml", {})
    assert said in str(refusal.value)


def test_a_configuration_that_is_not_there_is_one_sentence_and_exit_status_2(refused, tmp_path):
    assert refused(tmp_path / "eim.toml") == f"cannot read {tmp_path / 'eim.toml'}: No such file or directory"


def test_keys_that_cannot_be_read_are_one_sentence_and_exit_status_2(refused, config):
    (config.parent / "keys" / "tls.key").write_text("no key")
    assert "tls.key is no private key" in refused(config)


def test_a_port_in_use_is_one_sentence_and_exit_status_2(refused, config, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("MICROIPA_EIM_HTTPS", address)
        assert f"cannot listen on {address}" in refused(config)


def test_a_udp_port_that_another_server_shares_with_its_workers_is_refused():
    shared = sockets.udp_shared("127.0.0.1", 0, 2)
    port = shared[0].getsockname()[1]
    for workers in (1, 2):
        with pytest.raises(sockets.PortTaken, match="Address already in use"):
            sockets.udp_shared("127.0.0.1", port, workers)
    for one in shared:
        one.close()


def test_the_database_is_its_owners_alone(pki, config):
    Eim(pki, config.parent, es9_routes={})
    assert stat.S_IMODE((config.parent / "eim.sqlite").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("database", "said"),
    [
        ("/tmp", "Is a directory"),
        ("/proc/none/eim.sqlite", "No such file or directory"),
        ("mysql://host/eim", "mysql is no database"),
        ("postgresql://host:port/eim", "is no URL such as postgresql://"),
        ("postgresql://eim:secret@127.0.0.1:1/eim", "cannot be used now"),
    ],
)
def test_a_database_that_cannot_be_is_one_sentence_and_exit_status_2(refused, config, monkeypatch, database, said):
    pytest.importorskip("psycopg", reason="psycopg is missing: pip install 'microipa[postgresql]'")
    monkeypatch.setenv("MICROIPA_EIM_DATABASE", database)
    sentence = refused(config)
    assert said in sentence
    assert "secret" not in sentence


def test_a_database_that_can_only_be_read_is_one_sentence_and_exit_status_2(pki, refused, config, monkeypatch):
    Eim(pki, config.parent, es9_routes={})
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **more: mode != os.W_OK and access(path, mode, **more))
    assert "eim.sqlite cannot be written" in refused(config)


def test_a_database_newer_than_the_program_is_one_sentence_and_exit_status_2(pki, refused, config):
    Eim(pki, config.parent, es9_routes={}).close()
    with contextlib.closing(sqlite3.connect(config.parent / "eim.sqlite")) as database:
        database.execute("UPDATE alembic_version SET version_num = '0999'")
        database.commit()
    assert "has version 0999" in refused(config)


def test_a_database_that_is_none_is_one_sentence_and_exit_status_2(refused, config):
    (config.parent / "eim.sqlite").write_text("no database at all, but long enough to have a header" * 3)
    assert "eim.sqlite cannot be used" in refused(config)
