"""What travels: generated messages, and the only code that turns tensors and errors into them. No torch."""

#: Version of the protocol between client, parties and dealer; both ends must speak the same.
PROTOCOL_VERSION = 2
SESSION_ID_BYTES = 16
SESSION_METADATA = "mpcvit-session-bin"
