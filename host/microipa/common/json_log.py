"""Logs for machines: one JSON object a line on stderr."""

from __future__ import annotations

import json
import logging
import time

CHATTY = ("httpx", "coap", "coap-server", "asyncio", "uvicorn", "alembic")


class JsonLines(logging.Formatter):
    """time (UTC), level, process, logger, event, and the traceback of what was not expected."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "process": record.process,
            "logger": record.name,
            "event": record.getMessage(),
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
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
