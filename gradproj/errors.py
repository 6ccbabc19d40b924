"""The one exception whose message is meant for the person at the keyboard."""


class UserError(Exception):
    """What was expected, what came, what to type next; shown without a traceback, exit code 2."""


class Incomplete(Exception):
    """The work is over, but not all of it is recorded: exit code 1. The message says what to do."""
