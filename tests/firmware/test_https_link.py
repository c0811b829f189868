"""ipa.net.https_link under MicroPython with a TLS server: headers, paths, ports, and answers that were lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from board_run import Run
from microipa.crypto.pki import Pki
from stream import TCP
from test_https import Server, ok, serving

SCRIPT = TCP + """
import sys
from ipa.net import EsipaRefused, NetError
from ipa.net import https_link
from ipa.net.esipa import Esipa
from ipa.net.esipa_json import EsipaJson

https_link._PAUSE_MS = 1

class Modem:
    async def tcp(self, host, port):
        print("to", host, port)
        return Tcp(int(sys.argv[1]))

class Eim:
    host, trust = "eim.microipa.example", TRUST
    port = PORT

async def main():
    link = https_link.HttpsLink(Modem(), {"binding": BINDING})
    await link.open(Eim)
    esipa = (EsipaJson if BINDING == "json" else Esipa)(link)
    try:
        for _ in range(TIMES):
            package = await esipa.get_eim_package(bytes(16))
            print("no package" if package is None else "a package")
    except (EsipaRefused, NetError) as error:
        print(type(error).__name__, error)
    link.close(True)
    link.end()
asyncio.run(main())
"""
NONE = ok(bytes.fromhex("BF4F03020101"), b"Content-Type: application/x-gsma-rsp-asn1")
NONE_JSON = ok(b'{"header":{"functionExecutionStatus":{"status":"Failed","statusCodeData":'
               b'{"subjectCode":"8.1.1","reasonCode":"3.7"}}},"eimPackageError":1}')
HOST = "to eim.microipa.example 443"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


async def said(micropython: Run, pki: Pki, folder: Path, server: Server, *, binding: str = "asn1", times: int = 1,
               port: int | None = None) -> list[str]:
    script = SCRIPT
    values = {"TRUST": ("ca", pki.ci.der), "BINDING": binding, "TIMES": times, "PORT": port}
    for name, value in values.items():
        script = script.replace(name, repr(value))
    async with serving(server, pki.eim_tls, folder) as number:
        out = await micropython(script, number, heapsize="192K")
    return [line for line in out.splitlines() if not line.startswith("I ")]


async def test_6_1_1_the_asn_1_binding_has_one_path_and_its_own_type(
        micropython: Run, pki: Pki, tmp_path: Path) -> None:
    server = Server([NONE])
    assert await said(micropython, pki, tmp_path, server) == [HOST, "no package"]
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.splitlines()[0] == b"POST /gsma/rsp2/asn1 HTTP/1.1"
    for line in (b"Host: eim.microipa.example", b"Content-Type: application/x-gsma-rsp-asn1",
                 b"X-Admin-Protocol: gsma/rsp/v2.1.0", b"User-Agent: gsma-rsp-ipad"):
        assert line in head.splitlines()
    assert body == bytes.fromhex("BF4F125A10") + bytes(16)


async def test_6_4_the_json_binding_has_a_path_for_each_function(micropython: Run, pki: Pki, tmp_path: Path) -> None:
    server = Server([NONE_JSON])
    assert await said(micropython, pki, tmp_path, server, binding="json") == [HOST, "no package"]
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.splitlines()[0] == b"POST /gsma/rsp2/esipa/getEimPackage HTTP/1.1"
    assert b"Content-Type: application/json;charset=UTF-8" in head.splitlines()
    assert body == b'{"eidValue":"' + b"0" * 32 + b'"}'


async def test_eim_fqdn_may_name_a_port(micropython: Run, pki: Pki, tmp_path: Path) -> None:
    server = Server([NONE])
    out = await said(micropython, pki, tmp_path, server, port=8443)
    assert out == ["to eim.microipa.example 8443", "no package"]
    assert b"Host: eim.microipa.example:8443" in server.requests[0].splitlines()


@pytest.mark.parametrize(("binding", "answer"), [("asn1", NONE), ("json", NONE_JSON)])
async def test_one_connection_serves_a_whole_conversation(
        micropython: Run, pki: Pki, tmp_path: Path, binding: str, answer: bytes) -> None:
    server = Server([answer] * 3)
    out = await said(micropython, pki, tmp_path, server, binding=binding, times=3)
    assert out == [HOST, *["no package"] * 3]
    assert server.connections == 1


async def test_a_request_that_lost_its_answer_goes_out_again_as_over_coap(
        micropython: Run, pki: Pki, tmp_path: Path) -> None:
    server = Server([None, None, NONE])
    assert await said(micropython, pki, tmp_path, server) == [HOST, HOST, HOST, "no package"]
    assert len(set(server.requests)) == 1
    assert server.connections == 3


async def test_after_the_third_time_the_poll_has_failed(micropython: Run, pki: Pki, tmp_path: Path) -> None:
    server = Server([None] * 3)
    out = await said(micropython, pki, tmp_path, server)
    assert out[:3] == [HOST] * 3
    assert out[3].startswith("HttpsClosed ")


@pytest.mark.parametrize("status", [b"400 Bad Request", b"415 No", b"503 Busy", b"302 Found"])
async def test_a_status_that_is_no_success_is_a_refusal(
        micropython: Run, pki: Pki, tmp_path: Path, status: bytes) -> None:
    server = Server([b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n"])
    out = await said(micropython, pki, tmp_path, server)
    assert out == [HOST, f"EsipaRefused GetEimPackage: the eIM refused with HTTP {status[:3].decode()}"]
