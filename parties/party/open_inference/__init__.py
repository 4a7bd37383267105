"""The Open Inference Protocol, version 2, at the client port of a compute party."""
