"""Tests of the scripts in protos/."""
