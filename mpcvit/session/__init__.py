"""One party's run of one inference: CrypTen context, link, correlated randomness, trace.

The only package that may import crypten, and that in :mod:`mpcvit.session.crypten_context` alone.
"""
