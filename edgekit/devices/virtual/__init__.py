"""Boards that this machine emulates, each behind an SSH server of its own; put together by `edgekit.pipeline.virtual`.

``kind`` says what they are like, ``userland`` makes the system they run, ``emulation`` has this machine run its programs, ``server``
furnishes one behind an sshd, ``machine`` one with a kernel of its own, and ``process`` begins and ends them.
"""
