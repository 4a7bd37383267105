"""What the parties of either engine say to each other before the first step of a session."""

from __future__ import annotations

#: Tag of the messages by which parties see that they hold the same session.
SETUP_TAG = "session/setup"
#: Tag of the message by which the fast engine's parties agree which material a session uses.
MATERIAL_TAG = "session/material"
#: Length of the digest that ties a session to its model and dealer lease (SHA-256).
BINDING_BYTES = 32
