"""The kernel, by its own names. The only package that touches ctypes."""
