"""A forward pass in float64 numpy, slow and plain, to judge the Rust one by. See scripts/reference.py."""


class Refused(ValueError):
    """What the file or the command line asks for is malformed or not supported; says so in one line."""
