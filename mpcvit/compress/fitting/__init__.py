"""Fits of smaller layers to what larger ones wrote."""
