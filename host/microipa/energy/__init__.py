"""How long a battery lasts: figures of parts with their sources, a state model, and a year of a device's life."""
