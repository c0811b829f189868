"""What happened, message by message: recording, reading, printing."""

from microipa.trace.recording import Event, Record, SecondTrace, Trace

__all__ = ["Event", "Record", "SecondTrace", "Trace"]
