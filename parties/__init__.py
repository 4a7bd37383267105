"""The services: compute party and dealer, each one process with gRPC over mutual TLS."""
