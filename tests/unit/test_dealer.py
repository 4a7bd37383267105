"""The dealer without its network face."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpcvit.errors import NotAllowed, ProgramMismatch, SessionReplayed, SessionUnknown
from mpcvit.program.dealer import corrections
from mpcvit.program.files import load_program
from parties.dealer import Dealer
from parties.settings import DealerSettings

SESSION = bytes(range(16))


def _dealer(folder: Path, state: Path) -> Dealer:
    settings = DealerSettings(
        listen={"party": "x:1", "health": "x:2"},
        tls={"ca": "a", "cert": "b", "key": "c"},
        programs=[folder],
        state=state,
    )
    return Dealer(settings)


@pytest.fixture
def dealer(tiny_folder: Path, tmp_path: Path) -> Dealer:
    """A dealer for the tiny program."""
    return _dealer(tiny_folder, tmp_path / "state")


@pytest.fixture
def digest(tiny_folder: Path) -> bytes:
    """The tiny program's digest."""
    return bytes.fromhex(load_program(tiny_folder).digest)


def test_each_party_leases_once(dealer: Dealer, digest: bytes) -> None:
    """Parties share the lease id, not the seed; a second lease of either is a replay."""
    first = dealer.lease(SESSION, digest, "1", 0, 2)
    second = dealer.lease(SESSION, digest, "1", 1, 2)
    assert first[0] == second[0]
    assert first[1] != second[1]
    assert first[2] == 0 < second[2]
    for party in (0, 1):
        with pytest.raises(SessionReplayed):
            dealer.lease(SESSION, digest, "1", party, 2)
    assert dealer.lease(bytes(16), digest, "1", 0, 2)[1] != first[1]


def test_corrections_are_what_the_seeds_give(dealer: Dealer, digest: bytes, tiny_folder: Path) -> None:
    """The stream is the last party's corrections under the leased seeds, of the announced length; once."""
    seeds = [dealer.lease(SESSION, digest, "1", party, 2) for party in (0, 1)]
    streamed = b"".join(map(bytes, dealer.stream(SESSION, 1)))
    expected = b"".join(map(bytes, corrections(load_program(tiny_folder), [lease[1] for lease in seeds])))
    assert streamed == expected
    assert len(streamed) == seeds[1][2]
    with pytest.raises(SessionReplayed):
        next(dealer.stream(SESSION, 1))


def test_only_the_last_party_streams_and_only_with_a_lease(dealer: Dealer, digest: bytes) -> None:
    """Nobody gets the corrections of a session that is not theirs."""
    with pytest.raises(SessionUnknown):
        next(dealer.stream(SESSION, 1))
    dealer.lease(SESSION, digest, "1", 0, 2)
    with pytest.raises(NotAllowed):
        next(dealer.stream(SESSION, 0))
    with pytest.raises(SessionUnknown):
        next(dealer.stream(SESSION, 1))
    with pytest.raises(NotAllowed):
        dealer.lease(SESSION, digest, "1", 2, 2)


def test_all_parties_must_ask_for_the_same(dealer: Dealer, digest: bytes) -> None:
    """An unknown program, and another version or number of parties for one session, are refused."""
    with pytest.raises(ProgramMismatch, match="'programs'"):
        dealer.lease(SESSION, bytes(32), "1", 0, 2)
    dealer.lease(SESSION, digest, "1", 0, 2)
    for version, parties in (("2", 2), ("1", 3)):
        with pytest.raises(ProgramMismatch, match="same session"):
            dealer.lease(SESSION, digest, version, 1, parties)


def test_a_restarted_dealer_knows_used_sessions_and_has_a_new_root(
    tiny_folder: Path, tmp_path: Path, digest: bytes
) -> None:
    """After a restart an old session id is a replay, and no stream repeats."""
    old = _dealer(tiny_folder, tmp_path / "a").lease(SESSION, digest, "1", 0, 2)
    with pytest.raises(SessionReplayed):
        _dealer(tiny_folder, tmp_path / "a").lease(SESSION, digest, "1", 0, 2)
    new = _dealer(tiny_folder, tmp_path / "b").lease(SESSION, digest, "1", 0, 2)
    assert old[0] != new[0]
    assert old[1] != new[1]
