"""The MPC-aware search: configurations priced in seconds of secure inference, and methods that look for good ones."""
