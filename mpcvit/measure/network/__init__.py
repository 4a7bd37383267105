"""An emulated network on one machine: hosts with addresses of their own, a delay and a rate between them."""

from mpcvit.measure.network.namespaces import EmulatedNetwork, Host

__all__ = ["EmulatedNetwork", "Host"]
