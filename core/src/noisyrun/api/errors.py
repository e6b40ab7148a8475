"""The errors that a run reports in one line."""

from __future__ import annotations


class NoisyrunError(Exception):
    """Base of all errors that noisyrun raises on purpose."""


class UserError(NoisyrunError):
    """Something the user can mend: what is wrong, where, and what to do, in one line.

    The command line prints the message without a traceback and exits with code 2.
    """


class MethodError(NoisyrunError):
    """A method broke the contract: wrong shape, dtype, device, sign or a value that is not finite.

    Parameters
    ----------
    method
        The method at fault, as `socket.name`, e.g. ``weighter.sinet``.
    problem
        What is wrong with what it returned.
    """

    def __init__(self, method: str, problem: str) -> None:
        super().__init__(f"{method}: {problem}")
        self.method = method
        self.problem = problem
