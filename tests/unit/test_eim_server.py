"""`microipa eim serve`: an eIM without a lab, as an operator starts and stops it."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from euicc_peer import EID
from microipa.asn1.tlv import integer, tlv
from microipa.crypto.pki import Pki
from microipa.crypto.tls import client_context
from microipa.eim import Eim
from microipa.eim.config import BadConfig, Config
from microipa.load.device import CoapsLink, HttpsLink, dtls_context
from microipa.load.server import running, write_configuration

POLL = tlv(0xBF4F, tlv(0x5A, bytes.fromhex(EID)))
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
    assert [line["event"] for line in lines] == ["listening", "listening", "stopping", "stopped"]


async def test_sigterm_says_good_bye_to_each_association(pki, config):
    async with running(config) as server:
        link = await CoapsLink(dtls_context(pki.ci.certificate), ("127.0.0.1", server.ports["coaps"])).open()
    assert await link.closed()


def test_paths_of_the_file_are_beside_it_and_the_environment_goes_first(config):
    read = Config.read(config, {"MICROIPA_EIM_DATABASE": "elsewhere.sqlite", "MICROIPA_EIM_COAPS": "[::1]:5684"})
    assert read.keys == config.parent / "keys"
    assert read.database == "elsewhere.sqlite"
    assert read.coaps == ("::1", 5684)


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


def test_the_database_is_its_owners_alone(pki, config):
    Eim(pki, config.parent, es9_routes={})
    assert stat.S_IMODE((config.parent / "eim.sqlite").stat().st_mode) == 0o600


def test_a_database_that_is_none_is_one_sentence_and_exit_status_2(refused, config):
    (config.parent / "eim.sqlite").write_text("no database at all, but long enough to have a header" * 3)
    assert "eim.sqlite cannot be used" in refused(config)
