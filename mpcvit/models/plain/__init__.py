"""Heads and backbones of single systems as plain modules, one a file.

``mpcvit model export --module mpcvit.models.plain.FILE:build`` exports one. Sizes are arguments of its class: a factory
of one's own makes it as large as one likes.
"""
