"""What happened, message by message: recording, reading, printing."""

from microipa.trace.event import Event
from microipa.trace.recording import Record, SecondTrace, Trace

__all__ = ["Event", "Record", "SecondTrace", "Trace"]
