"""The protocols of the masked engine, one file each."""
