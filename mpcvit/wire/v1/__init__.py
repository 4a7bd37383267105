"""Generated from protos/mpcvit/v1; do not edit."""
