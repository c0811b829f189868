"""What the unix port's `machine` lacks of a chip's: a reset. Found before the built-in module, whose names it keeps."""

import sys

_RESET_STATUS = 75  # whoever started the process starts it again

_built_in = __import__("umachine")
for _name in dir(_built_in):
    globals()[_name] = getattr(_built_in, _name)


def reset():
    sys.exit(_RESET_STATUS)
