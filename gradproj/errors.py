"""The one exception whose message is meant for the person at the keyboard."""


class UserError(Exception):
    """What was expected, what came, what to type next; shown without a traceback, exit code 2."""
