"""CrypTen's own protocols, for any number of parties from 2."""
