"""The tokens that a client shows instead of a certificate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mpcvit.errors import ConfigError
from mpcvit.watched import Watched

#: Tokens are short-lived: a new one is noticed within so many seconds.
_LOOK_S = 1.0


class OwnTokens(Watched[list[str]]):
    """The content of a token file, read again when it changes: one token a line for each party, party 0 first.

    Args:
        path: the file.
        parties: how many parties there are.

    Raises:
        ConfigError: the file cannot be read, or has another number of tokens.
    """

    def __init__(self, path: Path, parties: int) -> None:
        super().__init__([path], lambda: _read(path, parties), _LOOK_S)

    def of(self, party: int) -> Callable[[], str]:
        """Return what yields the token for ``party``, as it is when called."""
        return lambda: self.value()[party]


def _read(path: Path, parties: int) -> list[str]:
    try:
        tokens = path.read_text(encoding="ascii").split()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{type(error).__name__} reading {path}",
            expected="a file of tokens",
            remedy="Write it with 'mpcvit token issue', or correct 'token' in the configuration.",
        ) from error
    if len(tokens) != parties:
        raise ConfigError(
            f"{len(tokens)} tokens in {path}",
            expected=f"{parties}: one for each party, as nobody but that party may hold it",
            remedy="Ask the issuer for a token for every party.",
        )
    return tokens
