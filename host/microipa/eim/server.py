"""``microipa eim serve``: eIMs in the foreground until SIGTERM or SIGINT, in one process or in several."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from microipa.common.errors import MicroipaError
from microipa.eim.config import Config
from microipa.eim.desk import Eim
from microipa.eim.workers import Workers
from microipa.net import sockets

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listening:
    """The sockets of one eIM: of UDP one for each worker, of TCP one for all."""

    coaps: tuple[socket.socket, ...]
    https: socket.socket | None


def serve(paths: Sequence[Path], workers: int) -> None:
    """Serve the eIM of each configuration file until told to stop.

    SIGHUP reads the TLS certificates anew, for associations and connections that begin from then on. Raises BadConfig,
    KeysInvalid, StoreUnusable, StoreBusy, ReadOnly, PortTaken.
    """
    configs = [Config.read(path) for path in paths]
    for config in configs:  # whatever is wrong is told before anything is begun
        _eim(config).close()
    listening = [_listen(config, workers) for config in configs]
    for config, places in zip(configs, listening, strict=True):
        _tell(config, places)
    if workers == 1:
        asyncio.run(_work(configs, listening, 0, None))
    else:
        Workers(workers, lambda number, parent: asyncio.run(_work(configs, listening, number, parent))).run()
    log.info("stopped")


def _eim(config: Config) -> Eim:
    eim = Eim(
        config.identity(),
        config.database,
        es9_routes=config.smdp_routes,
        es9_trust=config.trust(),
        es9_networks=config.smdp_networks,
        clients=config.issuers(),
        dtls=config.dtls,
    )
    eim.require_writable()
    return eim


def _listen(config: Config, workers: int) -> Listening:
    coaps = sockets.udp_shared(*config.coaps, workers) if config.coaps else ()
    return Listening(coaps, sockets.tcp(*config.https) if config.https else None)


def _tell(config: Config, places: Listening) -> None:
    for scheme, place in (("coaps", places.coaps[0] if places.coaps else None), ("https", places.https)):
        if place:
            host, port, *_ = place.getsockname()
            fields = {"eim": config.identity().fqdn, "scheme": scheme, "host": host, "port": port}
            log.info("listening", extra={"fields": fields})


async def _work(
    configs: Sequence[Config], listening: Sequence[Listening], number: int, parent: int | None
) -> None:
    """What one process does until SIGTERM or SIGINT, or the end of its parent: then it says good-bye."""
    eims = [_eim(config) for config in configs]
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(wanted, stop.set)
    if parent is not None:
        loop.add_reader(parent, stop.set)
    loop.add_signal_handler(signal.SIGHUP, _reload, configs, eims)
    async with contextlib.AsyncExitStack() as running:
        for eim, places in zip(eims, listening, strict=True):
            if places.coaps:
                await running.enter_async_context(eim.serve(bound=places.coaps[number].dup()))
            if places.https:
                await running.enter_async_context(eim.serve_https(bound=places.https.dup()))
        log.info("serving")
        await stop.wait()
        log.info("stopping")


def _reload(configs: Sequence[Config], eims: Sequence[Eim]) -> None:
    for config, eim in zip(configs, eims, strict=True):
        try:
            eim.renew(config.identity().tls)
        except (MicroipaError, OSError) as error:
            log.error("certificates of %s are not changed: %s", eim.fqdn, error)
        else:
            log.info("certificates of %s reloaded", eim.fqdn)
