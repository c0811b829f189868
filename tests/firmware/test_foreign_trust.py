"""SM-DP+ servers under certificates such as GSMA issues, before the real mbedTLS: which are trusted, and what is said
of the others (SGP.22 4.5.2, RFC 5280)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest
from board_run import Run
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from microipa.crypto.pki import Credential
from microipa.crypto.tls import server_context
from sgp26_like import (
    BOTH_ENDS,
    BRAINPOOL,
    NIST,
    SMDPP_ADDRESS,
    Member,
    alternative,
    certificate_issuer,
    issue,
    name,
    tls_server,
)
from test_https import SCRIPT, Server, ok, serving

CI = certificate_issuer(NIST)
BRAINPOOL_CI = certificate_issuer(BRAINPOOL)
UNREADABLE = "PeerNotTrusted mbedTLS does not take the server's certificate: "
UNUSABLE = "PeerNotTrusted a trusted certificate that mbedTLS cannot use (invalid cert): is it on P-256?"


def der(member: Member) -> bytes:
    return member.certificate.public_bytes(Encoding.DER)


async def ask(
        micropython: Run, folder: Path, server: Member, *anchors: Member, above: Sequence[Member] = (),
        role: int | str = "ca") -> str:
    """What the board says of one request to this server, which it trusts under ``anchors``."""
    trust = (role, *(der(anchor) for anchor in anchors))
    script = f"asyncio.run(post(client({trust!r}, {SMDPP_ADDRESS!r})))"
    credential = Credential(server.key, server.certificate)
    async with serving(Server([ok(b"pong")]), credential, folder, above=[one.certificate for one in above]) as port:
        return (await micropython(SCRIPT + script, port)).strip()


async def test_a_server_under_a_ci_with_a_critical_policy_is_trusted(micropython: Run, tmp_path: Path) -> None:
    """And with an end beyond the year 7000 and a serial number of nine octets."""
    assert await ask(micropython, tmp_path, tls_server(CI), CI) == "pong"


async def test_a_ci_that_only_has_the_same_name_is_not_trusted(micropython: Run, tmp_path: Path) -> None:
    told = await ask(micropython, tmp_path, tls_server(certificate_issuer(NIST)), CI)
    assert told == "PeerNotTrusted The certificate is not correctly signed by the trusted CA"


async def test_rfc5280_4_2_a_critical_policy_of_the_server_itself_is_beyond_mbedtls(
        micropython: Run, tmp_path: Path) -> None:
    told = await ask(micropython, tmp_path, tls_server(CI, critical_policy=True), CI)
    assert told.startswith(UNREADABLE)
    assert "-8320" in told  # MBEDTLS_ERR_X509_FEATURE_UNAVAILABLE


async def test_rfc5280_4_2_1_10_and_so_are_critical_name_constraints_of_a_ca_below(
        micropython: Run, tmp_path: Path) -> None:
    permitted = x509.NameConstraints([x509.DNSName("example.com")], None)
    below = issue(CI, NIST, name(COMMON_NAME="Sub CA"), None, (permitted, True), ca=True)
    told = await ask(micropython, tmp_path, tls_server(below), CI, above=[below])
    assert told.startswith(UNREADABLE)


async def skip_where_brainpool_is_known(micropython: Run) -> None:
    """Debian builds MicroPython with its own mbedTLS, which has the curve; that of MicroPython has not."""
    load = f"""
import tls
try:
    tls.SSLContext(tls.PROTOCOL_TLS_CLIENT).load_verify_locations({der(tls_server(CI, BRAINPOOL))!r})
    print("known")
except ValueError:
    print("unknown")
"""
    if (await micropython(load)).strip() == "known":
        pytest.skip("the mbedTLS of this MicroPython has brainpoolP256r1, as Debian's has: boards refuse it")


async def test_a_ci_on_brainpool_is_beyond_mbedtls_and_keeps_no_other_from_being_used(
        micropython: Run, tmp_path: Path) -> None:
    await skip_where_brainpool_is_known(micropython)
    server = tls_server(CI)
    assert await ask(micropython, tmp_path, server, BRAINPOOL_CI) == UNUSABLE
    assert await ask(micropython, tmp_path, server, BRAINPOOL_CI, CI) == "pong"


async def test_a_server_with_a_key_on_brainpool_finds_no_curve_in_common(micropython: Run, tmp_path: Path) -> None:
    await skip_where_brainpool_is_known(micropython)
    told = await ask(micropython, tmp_path, tls_server(CI, BRAINPOOL), CI)
    assert told.startswith("HttpsClosed TLS: ")


DP_TLS, DS_TLS = 3, 6
WRONG_ROLE = "PeerNotTrusted the server's certificate is for another role"


def server_under(issuer: Member, policy: str | None) -> Member:
    names = alternative("2.999.10", SMDPP_ADDRESS)
    return issue(issuer, NIST, name(COMMON_NAME=SMDPP_ADDRESS), policy, BOTH_ENDS, names, critical_policy=False)


async def test_sgp22_4_5_2_an_sm_dp_shows_a_certificate_of_its_role(micropython: Run, tmp_path: Path) -> None:
    assert await ask(micropython, tmp_path, server_under(CI, "3"), CI, role=DP_TLS) == "pong"


@pytest.mark.parametrize("policy", [None, "1", "4", "5", "6"])
async def test_sgp22_4_5_2_a_server_of_another_role_is_no_sm_dp(
        micropython: Run, tmp_path: Path, policy: str | None) -> None:
    assert await ask(micropython, tmp_path, server_under(CI, policy), CI, role=DP_TLS) == WRONG_ROLE


async def test_sgp22_4_5_2_an_sm_dp_is_no_sm_ds(micropython: Run, tmp_path: Path) -> None:
    assert await ask(micropython, tmp_path, server_under(CI, "3"), CI, role=DS_TLS) == WRONG_ROLE
    assert await ask(micropython, tmp_path, server_under(CI, "6"), CI, role=DS_TLS) == "pong"


async def test_sgp22_4_5_2_whoever_the_ci_lets_certify_others_certifies_no_sm_dp(
        micropython: Run, tmp_path: Path) -> None:
    eum = issue(CI, NIST, name(COMMON_NAME="EUM"), "2", ca=True, critical_policy=False)
    server = server_under(eum, "3")
    assert await ask(micropython, tmp_path, server, CI, above=[eum], role=DP_TLS) == WRONG_ROLE


async def test_sgp22_4_5_2_issuers_that_are_no_ci_know_no_roles(micropython: Run, tmp_path: Path) -> None:
    web = issue(None, NIST, name(COMMON_NAME="Web CA"), None, ca=True)
    assert await ask(micropython, tmp_path, server_under(web, None), CI, web, role=DP_TLS) == "pong"
    own = server_under(CI, None)
    assert await ask(micropython, tmp_path, own, own, role=DP_TLS) == "pong"  # trusted by itself


async def test_micropython_has_no_close_notify(micropython: Run) -> None:
    """What firmware/README.md says of it; when this fails, MicroPython has learnt to say goodbye."""
    server = tls_server(CI)

    def serve(listener: socket.socket) -> str:
        connection, _ = listener.accept()
        tls = server_context(Credential(server.key, server.certificate))
        with tls.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False) as channel:
            channel.settimeout(20)
            while not channel.recv(1 << 14).endswith(b"ping"):
                pass
            channel.sendall(ok(b"pong"))
            try:
                return "close_notify" if channel.recv(1) == b"" else "more"
            except ssl.SSLEOFError:
                return "cut off"

    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = asyncio.create_task(asyncio.to_thread(serve, listener))
        trust = ("pin", Credential(server.key, server.certificate).spki)
        told = await micropython(SCRIPT + f"asyncio.run(ask({trust!r}))", listener.getsockname()[1])
        assert told.strip() == "pong"
        assert await served == "cut off"
