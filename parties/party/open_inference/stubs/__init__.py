"""Generated from protos/inference; do not edit."""
