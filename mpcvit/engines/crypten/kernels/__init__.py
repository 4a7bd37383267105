"""How CrypTen runs each op, one file each."""
