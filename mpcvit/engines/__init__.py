"""Ways to run a Program on secret shares, one package each."""
