"""Containers made by liblxc, which only ever runs in processes of its own.

`config` says what LXC is told, `launch` asks for an instance, `worker` serves that in a process of its own, `stage`
is what happens in the child that becomes LXC's monitor, `log` explains why one failed.
"""
