"""The way to the eIM: a secured datagram stream, messages on top of it (SGP.32 chapter 6)."""
