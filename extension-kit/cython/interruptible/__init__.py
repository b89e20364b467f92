"""Cython modules that Ctrl-C and Thread.interrupt() can stop; see README.md."""

from pathlib import Path as _Path

from ._interruptible import backend, check, masked, reason, require_native

__all__ = ['backend', 'check', 'get_include', 'masked', 'reason', 'require_native']


def get_include():
    """The folder of the kit's headers, for include_dirs of an Extension."""
    return str(_Path(__file__).parent / 'include')
