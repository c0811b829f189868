"""Packages that follow a poll: those of the application, and those that the eIM injects (3.1.1.2)."""

import gc

from ipa.compat import unload
from ipa.steps import packages


async def listen(conversation, session, most):
    """Execute the package that was handed over, then listen for more. Returns whether the enabled profile changes."""
    trigger = conversation.trigger
    conversation.trigger = None
    for _ in range(most):
        if trigger is not None:
            if await packages.execute(session, trigger):
                return True
        if not conversation.wait_ms:
            return False
        from ipa.steps import inject

        changes, trigger = await inject.listen(session, conversation.link, conversation.wait_ms, most)
        # A download needs the memory.
        del inject
        unload()
        gc.collect()
        if trigger is None:
            return changes
    return False
