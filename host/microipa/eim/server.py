"""``microipa eim serve``: eIMs in the foreground until SIGTERM or SIGINT, structured lines on stderr."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from microipa.activation_codes import shortened_codes
from microipa.eim.config import Config
from microipa.eim.desk import Eim

log = logging.getLogger(__name__)


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, event, and the traceback of what was not expected."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": shortened_codes(record.getMessage()),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def log_json_lines() -> None:
    """Let everything this process logs go to stderr in that form."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for chatty in ("coap", "coap-server", "asyncio", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


async def serve(paths: Sequence[Path]) -> None:
    """Serve the eIM of each configuration file until told to stop.

    Raises BadConfig, KeysInvalid, StoreUnusable, PortTaken.
    """
    configs = [Config.read(path) for path in paths]
    eims = [
        Eim(
            config.identity(),
            config.database,
            es9_routes=config.smdp_routes,
            es9_trust=config.trust(),
            es9_networks=config.smdp_networks,
        )
        for config in configs
    ]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as running:
        for config, eim in zip(configs, eims, strict=True):
            if config.coaps:
                port = await running.enter_async_context(eim.serve(config.coaps[1], config.coaps[0]))
                _listening(eim, "coaps", config.coaps[0], port)
            if config.https:
                port = await running.enter_async_context(eim.serve_https(config.https[1], config.https[0]))
                _listening(eim, "https", config.https[0], port)
        await stop.wait()
        log.info("stopping")
    log.info("stopped")


def _listening(eim: Eim, scheme: str, host: str, port: int) -> None:
    log.info("listening", extra={"fields": {"eim": eim.fqdn, "scheme": scheme, "host": host, "port": port}})

