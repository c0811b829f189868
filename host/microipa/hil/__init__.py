"""One suite for boards on a desk and boards on a bench: ``pytest --pyargs microipa.hil --board …``; see README.md."""
